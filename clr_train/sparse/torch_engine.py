"""The engine in pure PyTorch: nothing to compile, on the CPU and on CUDA.

Legend: M sites, N particles, C channels.

Rows are in ascending order of (batch, x, y, z) on every level, whatever the order of the input, so
results do not depend on it; on the CPU they are the same bit for bit.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import Tensor

from clr_train.batch import VoxelBatch
from clr_train.sparse.depthwise import depthwise
from clr_train.sparse.kernel_map import MAX_COORDINATE, MAX_PARTICLES, Sites, pack
from clr_train.sparse.segments import Segments

__all__ = ["TorchEngine", "TorchSparseTensor"]

#: Up to this many input channels a cube's features are laid out in full and multiplied at once.
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
        return self.sites.coords

    @property
    def stride(self) -> int:
        """Voxels a site spans along each axis."""
        return self.sites.stride

    @property
    def num_particles(self) -> int:
        """Number of particles, N."""
        return self.sites.num_particles

    @property
    def segments(self) -> Segments:
        """Rows of each particle."""
        return self.sites.segments

    @property
    def batch(self) -> Tensor:
        """Particle of each site, int64 [M]."""
        return self.sites.segments.index

    def replace(self, features: Tensor) -> TorchSparseTensor:
        """Return other features [M, C'] on the same sites."""
        return TorchSparseTensor(features=features, sites=self.sites, use_triton=self.use_triton)

    def strided_conv(
        self, weight: Tensor, bias: Tensor | None, *, kernel_size: int
    ) -> TorchSparseTensor:
        """Convolve with kernel and stride `kernel_size`; weight [K**3, C, C'], bias [C']."""
        sites, parent, child = self.sites.coarser(kernel_size)
        x = self.features
        # Laid out in full, one product serves all offsets, at the price of multiplying the empty
        # ones: on a GPU cheaper than to ask it how many sites each offset has.
        if x.device.type != "cpu" or x.shape[1] <= _DENSE_CHANNELS:
            out = _full_product(x, weight, parent * weight.shape[0] + child, len(sites))
        else:
            out = _grouped_product(x, weight, parent, child, len(sites))
        if bias is not None:
            out = out + bias
        return TorchSparseTensor(features=out, sites=sites, use_triton=self.use_triton)

    def depthwise_conv(
        self, weight: Tensor, bias: Tensor | None, *, kernel_size: int
    ) -> TorchSparseTensor:
        """Convolve every channel by itself on the same sites; weight [K**3, C], bias [C]."""
        pairs = self.sites.depthwise_map(kernel_size)
        x = self.features
        if torch.is_autocast_enabled(x.device.type):
            x = x.to(torch.get_autocast_dtype(x.device.type))
        if self.use_triton and x.device.type == "cuda":
            from clr_train.sparse import triton_depthwise  # imports Triton

            return self.replace(triton_depthwise.depthwise(x, weight, bias, pairs=pairs))
        return self.replace(depthwise(x, weight, bias, pairs=pairs))

    def max_pool(self) -> Tensor:
        """Largest feature of each particle, [N, C]; zeros if empty."""
        return self.segments.max(self.features)

    def mean_pool(self) -> Tensor:
        """Mean feature of each particle, [N, C]; zeros if empty."""
        return self.segments.mean(self.features)


class TorchEngine:
    """Sparse operations by sorted keys and binary search; see Engine.

    Parameters
    ----------
    use_triton : bool, optional
        Whether depth-wise convolutions on CUDA run as Triton kernels. By default they do where
        Triton imports.
    """

    name = "torch"

    def __init__(self, *, use_triton: bool | None = None) -> None:
        self.use_triton = find_spec("triton") is not None if use_triton is None else use_triton

    def tensor(self, voxels: VoxelBatch) -> TorchSparseTensor:
        """Return the voxels as a tensor of stride 1, sorted.

        Raises
        ------
        ValueError
            When a site occurs twice, a coordinate or the number of particles is out of range.
        """
        if voxels.num_particles > MAX_PARTICLES:
            raise ValueError(
                f"num_particles: expected at most {MAX_PARTICLES}, found {voxels.num_particles}"
            )
        keys = pack(torch.cat([voxels.batch[:, None], voxels.xyz], dim=1))
        out_of_range = (voxels.xyz < -MAX_COORDINATE) | (voxels.xyz >= MAX_COORDINATE)
        unsorted = keys.diff() <= 0
        # Both at once: on a GPU each question waits for the device.
        is_out_of_range, is_unsorted = torch.stack([out_of_range.any(), unsorted.any()]).tolist()
        if is_out_of_range:
            raise ValueError(
                f"xyz: expected {-MAX_COORDINATE} to {MAX_COORDINATE - 1}, found "
                f"{int(voxels.xyz.min())} to {int(voxels.xyz.max())}"
            )
        features = voxels.features
        if is_unsorted:
            keys, order = torch.sort(keys)
            features = features.index_select(0, order)
            if bool((keys.diff() == 0).any()):
                raise ValueError("xyz: expected distinct sites in each particle, found one twice")
        sites = Sites(keys, stride=1, num_particles=voxels.num_particles)
        return TorchSparseTensor(features=features, sites=sites, use_triton=self.use_triton)


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
    return Segments.of(parent[order], num_segments=num_rows).sum(products)
