"""The engine in pure PyTorch: nothing to compile, on the CPU and on CUDA.

Legend: M sites, N particles, C channels.

Rows are in ascending order of (particle, x, y, z) on every level. On the CPU results are the same
bit for bit each time.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.ragged import RaggedIndex
from clr_train.runtime.kernels import has_triton, runs_triton
from clr_train.site_keys import unpack
from clr_train.sparse.depthwise import depthwise
from clr_train.sparse.kernel_map import Sites

__all__ = ["TorchEngine", "TorchSparseTensor"]

#: Up to this many input channels, the CPU uses one product for all kernel offsets.
_DENSE_CHANNELS = 4


@dataclass(frozen=True, kw_only=True)
class TorchSparseTensor:
    """Features [M, C] on `sites`; see SparseTensor."""

    features: Tensor
    sites: Sites
    use_triton: bool

    @property
    def coords(self) -> Tensor:
        """Particle and coordinates of each site in units of `stride`, int32 [M, 4]."""
        return torch.stack(unpack(self.sites.keys), dim=1).to(torch.int32)

    @property
    def stride(self) -> int:
        """Voxels a site spans along each axis."""
        return self.sites.stride

    @property
    def index(self) -> RaggedIndex:
        """Which rows belong to which particle."""
        return self.sites.index

    def replace(self, features: Tensor) -> TorchSparseTensor:
        """Return other features [M, C'] on the same sites."""
        return dataclasses.replace(self, features=features)

    def strided_conv(
        self, weight: Tensor, bias: Tensor | None, *, kernel_size: int
    ) -> TorchSparseTensor:
        """Convolve with kernel and stride `kernel_size`; weight [K**3, C, C'], bias [C']."""
        sites, parent, child = self.sites.coarser(kernel_size)
        x = self.features
        # The full product multiplies empty slots too. On a GPU that is cheaper than a
        # synchronisation for the number of sites of each offset.
        if x.device.type != "cpu" or x.shape[1] <= _DENSE_CHANNELS:
            out = _full_product(x, weight, parent * weight.shape[0] + child, len(sites))
        else:
            out = _grouped_product(x, weight, parent, child, len(sites))
        if bias is not None:
            out = out + bias
        return dataclasses.replace(self, features=out, sites=sites)

    def depthwise_conv(
        self, weight: Tensor, bias: Tensor | None, *, kernel_size: int
    ) -> TorchSparseTensor:
        """Convolve every channel by itself on the same sites; weight [K**3, C], bias [C]."""
        pairs = self.sites.depthwise_map(kernel_size)
        x = self.features
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.use_triton and runs_triton(x):
            from clr_train.sparse import triton_depthwise  # imports Triton

            return self.replace(triton_depthwise.depthwise(x, weight, bias, pairs=pairs))
        return self.replace(depthwise(x, weight, bias, pairs=pairs))

    def max_pool(self) -> Tensor:
        """Largest value of each feature of a particle, float [N, C]; zeros if it is empty."""
        return self.index.max(self.features)

    def mean_pool(self) -> Tensor:
        """Mean of each feature of a particle, float [N, C]; zeros if it is empty."""
        return self.index.mean(self.features)


class TorchEngine:
    """Sparse operations by sorted keys and binary search; see Engine.

    Parameters
    ----------
    use_triton : bool, optional
        Whether depth-wise convolutions on CUDA run as Triton kernels. By default they do where
        Triton works.
    """

    name = "torch"

    def __init__(self, *, use_triton: bool | None = None) -> None:
        self.use_triton = has_triton() if use_triton is None else use_triton

    def tensor(self, sites: SiteBatch) -> TorchSparseTensor:
        """Return a tensor of stride 1, rows in the order of the batch."""
        level = Sites(sites.keys, stride=1, num_particles=sites.num_particles)
        return TorchSparseTensor(features=sites.features, sites=level, use_triton=self.use_triton)


def _full_product(features: Tensor, weight: Tensor, slot: Tensor, num_rows: int) -> Tensor:
    """Multiply rows [num_rows, K**3 * C] that hold each site's features in its slot."""
    volume, num_channels, _ = weight.shape
    rows = features.new_zeros(num_rows * volume, num_channels).index_copy(0, slot, features)
    return rows.view(num_rows, volume * num_channels) @ weight.flatten(0, 1)


def _grouped_product(
    features: Tensor, weight: Tensor, parent: Tensor, child: Tensor, num_rows: int
) -> Tensor:
    """Multiply the sites of each kernel offset by its matrix, then sum those of each cube."""
    ascending, order = torch.sort(child, stable=True)
    counts = torch.bincount(ascending, minlength=weight.shape[0]).tolist()
    groups = torch.split(features.index_select(0, order), counts)
    products = torch.cat([group @ matrix for group, matrix in zip(groups, weight, strict=True)])
    # Rows are summed by cube, as elsewhere by particle.
    return RaggedIndex.of_particles(parent[order], num_particles=num_rows).sum(products)
