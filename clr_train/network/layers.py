"""The parts of a sparse ConvNeXt V2.

Legend: M sites, N particles, C channels, K kernel size.

Weights have the layout of clr_train.sparse, and the initial values of the paper: a normal
distribution of standard deviation 0.02, cut at 2; biases 0.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor, nn

from clr_train.keys import fold_in, uniform
from clr_train.network.response_norm import EPSILON, TINY, particle_response_norm
from clr_train.sparse import SparseTensor

__all__ = ["Block", "DepthwiseConv", "GlobalResponseNorm", "GrnSpan", "StridedConv"]

GrnSpan: TypeAlias = Literal["particle", "batch"]


class StridedConv(nn.Module):
    """Sparse convolution with kernel and stride K; see SparseTensor.strided_conv."""

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
    """Sparse depth-wise convolution; see SparseTensor.depthwise_conv."""

    def __init__(self, channels: int, *, kernel_size: int) -> None:
        super().__init__()
        self.kernel_size = kernel_size
        self.weight = nn.Parameter(torch.empty(kernel_size**3, channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        nn.init.trunc_normal_(self.weight, std=0.02)

    def forward(self, x: SparseTensor) -> SparseTensor:
        """Return the convolved features on the same sites."""
        return x.depthwise_conv(self.weight, self.bias, kernel_size=self.kernel_size)


class GlobalResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, equations 1 to 4) over the sites of a particle.

    With G_c the L2 norm of channel c over the sites, and n_c = G_c / (mean of G over the channels),
    a feature becomes x_c + gamma_c * n_c * x_c + beta_c.

    Parameters
    ----------
    channels : int
        C.
    over : {"particle", "batch"}
        Whether G is a particle's own, or that of all sites of the batch, as published.
    """

    def __init__(self, channels: int, *, over: GrnSpan) -> None:
        super().__init__()
        self.over = over
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, *, of: SparseTensor) -> Tensor:
        """Normalise features [M, C] that lie on the sites of `of`."""
        if self.over == "particle":
            return particle_response_norm(x, self.gamma, self.beta, index=of.index)
        norm = (x.float().square().sum(0, keepdim=True) + TINY).sqrt()
        scale = 1.0 + self.gamma * norm / (norm.mean(1, keepdim=True) + EPSILON)
        return torch.addcmul(self.beta.to(x.dtype), x, scale.to(x.dtype))


class Block(nn.Module):
    """A block of ConvNeXt V2: depth-wise convolution, then a 4 times wider layer at each site.

    Parameters
    ----------
    channels : int
        C.
    kernel_size : int
        K of the depth-wise convolution, odd.
    grn : {"particle", "batch"}
        See GlobalResponseNorm.
    drop_path : float
        Probability that a particle skips the block while training.
    salt : int
        Number of the block in its network: it tells its draws from those of the others.
    """

    def __init__(
        self, channels: int, *, kernel_size: int, grn: GrnSpan, drop_path: float, salt: int
    ) -> None:
        super().__init__()
        self.drop_path = drop_path
        self.salt = salt
        self.depthwise = DepthwiseConv(channels, kernel_size=kernel_size)
        self.norm = nn.LayerNorm(channels, eps=1e-6)
        self.expand = nn.Linear(channels, 4 * channels)
        self.activation = nn.GELU()
        self.response = GlobalResponseNorm(4 * channels, over=grn)
        self.reduce = nn.Linear(4 * channels, channels)

    def forward(self, x: SparseTensor, *, keys: Tensor | None) -> SparseTensor:
        """Return the features plus those of the block, for the particles that do not skip it."""
        y = self.expand(self.norm(self.depthwise(x).features))
        y = self.reduce(self.response(self.activation(y), of=x))
        if self.training and self.drop_path > 0.0:
            if keys is None:
                raise ValueError("keys: a model with drop path needs a key for every particle")
            kept = uniform(fold_in(keys, self.salt)) >= self.drop_path
            scale = kept.to(y.dtype) / (1.0 - self.drop_path)
            y = y * x.index.broadcast(scale[:, None])
        return x.replace(x.features + y)
