"""Depth-wise convolution on the sites of a level, in plain torch operations.

Legend: M sites, P pairs of neighbours, C channels, K kernel size.

The products of all pairs, [P, C], are about 12 times as large as the features. They are computed in
chunks that fit the cache. Each chunk is summed by `embedding_bag`, which is much faster than a
scatter and adds in a fixed order.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clr_train.sparse.kernel_map import DepthwiseMap

__all__ = ["depthwise"]

#: Products of one chunk. On the CPU two such arrays fill a second-level cache; on a GPU this limits
#: the memory.
_CHUNK_ELEMENTS = {"cpu": 400_000, "cuda": 1 << 27}


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, *, pairs: DepthwiseMap) -> Tensor:
    """Convolve each channel of `x`, [M, C], with its own kernel, and add a bias, [C].

    The weight, float32 [K**3, C], has the kernel offset (dx, dy, dz) in row (dx * K + dy) * K + dz.
    The result has the type of `x`; sums are formed in float32 at least.
    """
    out: Tensor = _Depthwise.apply(x, weight, bias, pairs)  # type: ignore[no-untyped-call]
    return out


def _chunk_pairs(x: Tensor, pairs: DepthwiseMap) -> int:
    num_channels = x.shape[1]
    elements = _CHUNK_ELEMENTS.get(x.device.type, _CHUNK_ELEMENTS["cuda"])
    # Not too small: each chunk also adds to the whole gradient of the weights.
    return max(elements // max(num_channels, 1), 4 * pairs.volume)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pairs: DepthwiseMap
    ) -> Tensor:
        ctx.pairs = pairs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, weight)
        wide = torch.promote_types(x.dtype, weight.dtype)
        source, kernels = x.to(wide).contiguous(), weight.to(wide).contiguous()
        out = torch.empty_like(source)
        arange = torch.arange(pairs.target.shape[0], device=x.device)
        for chunk in pairs.chunks(_chunk_pairs(x, pairs)):
            product = source.index_select(0, pairs.source[chunk.pairs])
            product *= kernels.index_select(0, pairs.kernel[chunk.pairs])
            out[chunk.rows] = _bag_sum(arange[: product.shape[0]], product, chunk.row_offset)
            if bias is not None:
                out[chunk.rows] += bias
        return out.to(x.dtype)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        pairs: DepthwiseMap = ctx.pairs
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        wide = torch.promote_types(x.dtype, weight.dtype)
        upper = grad.to(wide).contiguous()
        features = x.to(wide)
        # The gradient of row i reaches its neighbour j through the opposite offset.
        opposite = weight.to(wide).flip(0)
        grad_x = torch.empty_like(upper) if needs_x else None
        grad_opposite = torch.zeros_like(opposite) if needs_weight else None
        arange = torch.arange(pairs.target.shape[0], device=x.device)
        for chunk in pairs.chunks(_chunk_pairs(x, pairs)):
            received = upper.index_select(0, pairs.source[chunk.pairs])
            if grad_opposite is not None:
                product = features.index_select(0, pairs.target[chunk.pairs]).mul_(received)
                grad_opposite += _bag_sum(chunk.by_offset, product, chunk.offset_start)
            if grad_x is not None:
                received *= opposite.index_select(0, pairs.kernel[chunk.pairs])
                grad_x[chunk.rows] = _bag_sum(
                    arange[: received.shape[0]], received, chunk.row_offset
                )
        return (
            None if grad_x is None else grad_x.to(x.dtype),
            None if grad_opposite is None else grad_opposite.flip(0).to(weight.dtype),
            upper.sum(0).to(weight.dtype) if ctx.has_bias and needs_bias else None,
            None,
        )


def _bag_sum(index: Tensor, values: Tensor, offset: Tensor) -> Tensor:
    """Sum values[index[offset[i] : offset[i + 1]]] for each i."""
    return F.embedding_bag(index, values, offset, mode="sum", include_last_offset=True)
