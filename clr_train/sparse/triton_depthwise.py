"""Depth-wise convolution on the sites of a level as Triton kernels, for CUDA.

Legend: M sites, P pairs of neighbours, C channels, V = K**3 kernel offsets.

Features may be bfloat16 or float16; sums are formed in float32, and the gradients of the weights
stay there. No kernel uses atomics, so a step gives the same bits each time.
"""
# Triton's compiler reads annotations and refuses those of Python's type checkers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from clr_train.sparse.kernel_map import DepthwiseMap

__all__ = ["depthwise"]

_ROWS = 8
_PAIRS = 32
#: Parts into which the pairs of one kernel offset are cut: the centre has M pairs, the corners few.
_PARTS = 16


@triton.jit  # type: ignore[untyped-decorator]
def _convolve(
    x_ptr,  # [M, C]
    weight_ptr,  # float32 [V, C]
    bias_ptr,  # float32 [C]
    out_ptr,  # [M, C]
    source_ptr,  # int64 [P]
    kernel_ptr,  # int64 [P]
    row_offset_ptr,  # int64 [M + 1]
    num_rows,
    num_channels,
    VOLUME: tl.constexpr,
    OPPOSITE: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sum the pairs of ROWS rows for CHANNELS channels; OPPOSITE takes the mirrored kernel."""
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    in_rows = row < num_rows
    in_channels = channel < num_channels
    first = tl.load(row_offset_ptr + row, mask=in_rows, other=0)
    last = tl.load(row_offset_ptr + row + 1, mask=in_rows, other=0)
    total = tl.zeros((ROWS, CHANNELS), dtype=tl.float32)
    longest = tl.max(last - first, axis=0)
    for step in range(0, longest):
        pair = first + step
        in_pairs = pair < last
        source = tl.load(source_ptr + pair, mask=in_pairs, other=0)
        kernel = tl.load(kernel_ptr + pair, mask=in_pairs, other=0)
        if OPPOSITE:
            kernel = VOLUME - 1 - kernel
        mask = in_pairs[:, None] & in_channels[None, :]
        x = tl.load(x_ptr + source[:, None] * num_channels + channel[None, :], mask=mask, other=0.0)
        weight = tl.load(
            weight_ptr + kernel[:, None] * num_channels + channel[None, :], mask=mask, other=0.0
        )
        total += x.to(tl.float32) * weight
    if HAS_BIAS:
        total += tl.load(bias_ptr + channel, mask=in_channels, other=0.0)[None, :]
    place = out_ptr + row[:, None].to(tl.int64) * num_channels + channel[None, :]
    tl.store(
        place, total.to(out_ptr.dtype.element_ty), mask=in_rows[:, None] & in_channels[None, :]
    )


@triton.jit  # type: ignore[untyped-decorator]
def _weight_gradient(
    x_ptr,  # [M, C]
    grad_ptr,  # [M, C]
    partial_ptr,  # float32 [PARTS, V, C]
    source_ptr,  # int64 [P]
    target_ptr,  # int64 [P]
    order_ptr,  # int64 [P]
    start_ptr,  # int64 [V + 1]
    num_channels,
    VOLUME: tl.constexpr,
    PARTS: tl.constexpr,
    PAIRS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sum x[source] * grad[target] over one part of the pairs of one kernel offset."""
    kernel = tl.program_id(0)
    part = tl.program_id(1)
    channel = tl.program_id(2) * CHANNELS + tl.arange(0, CHANNELS)
    in_channels = channel < num_channels
    first = tl.load(start_ptr + kernel)
    last = tl.load(start_ptr + kernel + 1)
    share = (last - first + PARTS - 1) // PARTS
    begin = first + part * share
    end = tl.minimum(begin + share, last)
    total = tl.zeros((CHANNELS,), dtype=tl.float32)
    for position in range(begin, end, PAIRS):
        index = position + tl.arange(0, PAIRS)
        in_pairs = index < end
        pair = tl.load(order_ptr + index, mask=in_pairs, other=0)
        source = tl.load(source_ptr + pair, mask=in_pairs, other=0)
        target = tl.load(target_ptr + pair, mask=in_pairs, other=0)
        mask = in_pairs[:, None] & in_channels[None, :]
        x = tl.load(x_ptr + source[:, None] * num_channels + channel[None, :], mask=mask, other=0.0)
        grad = tl.load(
            grad_ptr + target[:, None] * num_channels + channel[None, :], mask=mask, other=0.0
        )
        total += tl.sum(x.to(tl.float32) * grad.to(tl.float32), axis=0)
    place = partial_ptr + (part * VOLUME + kernel) * num_channels + channel
    tl.store(place, total, mask=in_channels)


def depthwise(x: Tensor, weight: Tensor, bias: Tensor | None, *, pairs: DepthwiseMap) -> Tensor:
    """Convolve each channel with its own kernel; see clr_train.sparse.depthwise.depthwise."""
    out: Tensor = _Depthwise.apply(x, weight, bias, pairs)  # type: ignore[no-untyped-call]
    return out


def _block(num_channels: int) -> int:
    return min(int(triton.next_power_of_2(num_channels)), 128)


def _launch_convolve(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, pairs: DepthwiseMap, opposite: bool
) -> Tensor:
    x, weight = x.contiguous(), weight.float().contiguous()
    out = torch.empty_like(x)
    num_rows, num_channels = x.shape
    if num_rows == 0:
        return out
    block = _block(num_channels)
    grid = (triton.cdiv(num_rows, _ROWS), triton.cdiv(num_channels, block))
    _convolve[grid](
        x,
        weight,
        weight if bias is None else bias.float(),
        out,
        pairs.source,
        pairs.kernel,
        pairs.row_offset,
        num_rows,
        num_channels,
        VOLUME=pairs.volume,
        OPPOSITE=opposite,
        HAS_BIAS=bias is not None,
        ROWS=_ROWS,
        CHANNELS=block,
    )
    return out


def _launch_weight_gradient(x: Tensor, grad: Tensor, *, pairs: DepthwiseMap) -> Tensor:
    x, grad = x.contiguous(), grad.contiguous()
    num_channels = x.shape[1]
    order, start = pairs.by_kernel
    block = _block(num_channels)
    partial = x.new_empty(_PARTS, pairs.volume, num_channels, dtype=torch.float32)
    _weight_gradient[(pairs.volume, _PARTS, triton.cdiv(num_channels, block))](
        x,
        grad,
        partial,
        pairs.source,
        pairs.target,
        order,
        start,
        num_channels,
        VOLUME=pairs.volume,
        PARTS=_PARTS,
        PAIRS=_PAIRS,
        CHANNELS=block,
    )
    return partial.sum(0)


class _Depthwise(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None, pairs: DepthwiseMap
    ) -> Tensor:
        ctx.pairs = pairs
        ctx.has_bias = bias is not None
        ctx.save_for_backward(x, weight)
        return _launch_convolve(x, weight, bias, pairs=pairs, opposite=False)

    @staticmethod
    def backward(
        ctx: Any, grad: Tensor
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, None]:
        x, weight = ctx.saved_tensors
        pairs: DepthwiseMap = ctx.pairs
        needs_x, needs_weight, needs_bias, _ = ctx.needs_input_grad
        grad_x = grad_weight = grad_bias = None
        if needs_x:
            grad_x = _launch_convolve(grad, weight, None, pairs=pairs, opposite=True).to(x.dtype)
        if needs_weight:
            grad_weight = _launch_weight_gradient(x, grad, pairs=pairs).to(weight.dtype)
        if ctx.has_bias and needs_bias:
            grad_bias = grad.float().sum(0).to(weight.dtype)
        return grad_x, grad_weight, grad_bias, None
