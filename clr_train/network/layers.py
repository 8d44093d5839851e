"""The parts of a sparse ConvNeXt V2.

Legend: M sites, N particles, C channels, K kernel size.

Weights have the layout of `clr_train.sparse`. Initial weights are those of the paper: normal with
standard deviation 0.02, truncated at 2; biases are 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from clr_train.network.response_norm import GlobalResponseNorm, GrnSpan

if TYPE_CHECKING:
    from clr_train.sparse import SparseTensor

__all__ = ["Block", "DepthwiseConv", "StridedConv"]


class StridedConv(nn.Module):
    """Sparse convolution with kernel and stride K; see `SparseTensor.strided_conv`."""

    def __init__(self, in_channels: int, out_channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(kernel_size**3, in_channels, out_channels))
        self.bias = nn.Parameter(torch.zeros(out_channels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Return the coarser tensor."""
        return x.strided_conv(self.weight, self.bias, kernel_size=self.kernel_size)


class DepthwiseConv(nn.Module):
    """Sparse depth-wise convolution; see `SparseTensor.depthwise_conv`."""

    def __init__(self, channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(kernel_size**3, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Return the convolved features on the same sites."""
        return x.depthwise_conv(self.weight, self.bias, kernel_size=self.kernel_size)


class Block(nn.Module):
    """A block of ConvNeXt V2: depth-wise convolution, then at each site a layer of 4 C channels.

    For `grn` see `GlobalResponseNorm`.
    """

    def __init__(self, channels: int, *, kernel_size: int, grn: GrnSpan) -> None:
        super().__init__()
        self.depthwise = DepthwiseConv(channels, kernel_size=kernel_size)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.activation = nn.GELU()
        self.response = GlobalResponseNorm(4 * channels, over=grn)
        self.reduce = nn.Linear(4 * channels, channels)

    def forward(self, x: SparseTensor, *, scale: Tensor | None) -> SparseTensor:
        """Return the features plus the output of the block.

        This is multiplied by the `scale` of each particle, float32 [N], if there is one.
        """
        y = self.expand(self.norm(self.depthwise(x).features))
        y = self.reduce(self.response(self.activation(y), of=x))
        if scale is not None:
            y = y * x.index.broadcast(scale.to(y.dtype)[:, None])
        return x.replace(x.features + y)
