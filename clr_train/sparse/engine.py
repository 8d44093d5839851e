"""The interface that an engine offers to the network: five operations on sparse tensors.

Legend: M sites, N particles, C channels, K kernel size.

Weights belong to the caller and have one layout for all engines, so that a checkpoint can be used
with each: kernel offset (dx, dy, dz), each 0 .. K-1, has the index (dx * K + dy) * K + dz.
"""

from __future__ import annotations

from typing import Protocol, Self, runtime_checkable

from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.ragged import RaggedIndex

__all__ = ["Engine", "SparseTensor"]


class SparseTensor(Protocol):
    """Features on the sites of a batch of particles.

    The order of the rows is the engine's own; `coords` and `index` say what each row is.
    """

    @property
    def features(self) -> Tensor:
        """Features of each site, float [M, C]."""

    @property
    def coords(self) -> Tensor:
        """Particle and coordinates of each site in units of `stride`, int32 [M, 4]."""

    @property
    def stride(self) -> int:
        """Voxels a site spans along each axis."""

    @property
    def index(self) -> RaggedIndex:
        """Which rows belong to which particle, those without a site included."""

    def replace(self, features: Tensor) -> Self:
        """Return other features [M, C'] on the same sites, whose kernel maps are shared."""

    def strided_conv(self, weight: Tensor, bias: Tensor | None, *, kernel_size: int) -> Self:
        """Convolve with kernel and stride K, over disjoint cubes.

        Site c contributes to site floor(c / K) of the result, which exists if any site of its cube
        does. The weight, float32 [K**3, C, C'], has a matrix for each offset; the bias, float32
        [C'], is added to every site of the result.
        """

    def depthwise_conv(self, weight: Tensor, bias: Tensor | None, *, kernel_size: int) -> Self:
        """Correlate each channel with its own centred kernel of odd size K, on the same sites.

        It is `torch.nn.functional.conv3d` with padding K // 2 on the dense grid, which is zero
        where there is no site; only the values at sites are computed. The weight, float32
        [K**3, C], has a row for each offset; the bias is float32 [C].
        """

    def max_pool(self) -> Tensor:
        """Largest value of each feature of a particle, float [N, C]; zeros if it is empty."""

    def mean_pool(self) -> Tensor:
        """Mean of each feature of a particle, float [N, C]; zeros if it is empty."""


@runtime_checkable
class Engine(Protocol):
    """Makes sparse tensors; their methods are the operations of this engine."""

    name: str

    def tensor(self, sites: SiteBatch) -> SparseTensor:
        """Return a tensor of stride 1 with the features of `sites`."""
