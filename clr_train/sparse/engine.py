"""The interface that an engine offers to the network: five operations on ragged sparse tensors.

Legend: M sites, N particles, C channels, K kernel size.

Weights belong to the caller, in one layout for all engines, so that a checkpoint moves between
them: kernel offset (dx, dy, dz), each 0 .. K-1, has the index (dx * K + dy) * K + dz.
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
        """Convolve with kernel and stride K over disjoint cubes.

        Site c feeds site floor(c / K) of the result, which exists where any of its cube's does.

        Parameters
        ----------
        weight : Tensor, float32 [K**3, C, C']
            A matrix an offset.
        bias : Tensor, float32 [C'], optional
            Added to every site of the result.
        kernel_size : int
            K.
        """

    def depthwise_conv(self, weight: Tensor, bias: Tensor | None, *, kernel_size: int) -> Self:
        """Correlate each channel with its own centred kernel, on the same sites.

        It is torch.nn.functional.conv3d with padding K // 2 on the dense grid, zero where no site
        is, read at the sites only.

        Parameters
        ----------
        weight : Tensor, float32 [K**3, C]
            A row an offset.
        bias : Tensor, float32 [C], optional
            Added to every site.
        kernel_size : int
            K, odd.
        """

    def max_pool(self) -> Tensor:
        """Largest feature of each particle, [N, C] in the order of the batch; zeros if empty."""

    def mean_pool(self) -> Tensor:
        """Mean feature of each particle, [N, C] in the order of the batch; zeros if empty."""


@runtime_checkable
class Engine(Protocol):
    """What makes sparse tensors, and with them the choice of who computes on them."""

    name: str

    def tensor(self, sites: SiteBatch) -> SparseTensor:
        """Return a tensor of stride 1."""
