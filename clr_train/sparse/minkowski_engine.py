"""The engine on MinkowskiEngine 0.5.4, the library of the original study.

Legend: M sites, N particles, C channels, K kernel size.

It computes in float32 only. In its kernels x runs fastest, in ours z does; the rows of its results
are in an order of its own.
"""

from __future__ import annotations

import collections
import collections.abc
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from clr_train.batch import SiteBatch
from clr_train.ragged import RaggedIndex
from clr_train.site_keys import unpack
from pilarnet_convert.errors import MissingDependencyError

__all__ = ["MinkowskiEngine", "MinkowskiSparseTensor", "has_fused_depthwise"]


@lru_cache(maxsize=1)
def _library() -> ModuleType:
    """Import MinkowskiEngine, or raise MissingDependencyError."""
    if not hasattr(collections, "Sequence"):
        # Its modules import this name from where Python 3.10 removed it.
        collections.Sequence = collections.abc.Sequence  # type: ignore[attr-defined]
    try:
        import MinkowskiEngine as Library
    except (ImportError, OSError) as error:
        raise MissingDependencyError(
            f"MinkowskiEngine does not import: {error}",
            field="--engine minkowski",
            advice="build it with 'make minkowski', or use the engine 'torch', which needs nothing",
        ) from error
    library: ModuleType = Library
    return library


def _works_on(device: torch.device) -> bool:
    return device.type == "cpu" or (device.type == "cuda" and _library().is_cuda_available())


def has_fused_depthwise(device: torch.device) -> bool:
    """Whether the installed build is the fork with a depth-wise kernel, and runs on `device`."""
    try:
        return hasattr(_library(), "MinkowskiDepthwiseConvolution") and _works_on(device)
    except MissingDependencyError:
        return False


@lru_cache(maxsize=16)
def _our_offsets(kernel_size: int) -> Tensor:
    """Index in our order of each kernel offset in the library's order, int64 [K**3]."""
    ours = torch.arange(kernel_size**3).view(kernel_size, kernel_size, kernel_size)
    return ours.permute(2, 1, 0).flatten()


@lru_cache(maxsize=256)
def _depthwise_module(channels: int, kernel_size: int, has_bias: bool) -> nn.Module:
    library = _library()
    kind = getattr(
        library, "MinkowskiDepthwiseConvolution", library.MinkowskiChannelwiseConvolution
    )
    module: nn.Module = kind(channels, kernel_size=kernel_size, bias=has_bias, dimension=3)
    return module


@lru_cache(maxsize=256)
def _strided_module(
    channels: tuple[int, int], kernel_size: int, stride: int, has_bias: bool
) -> nn.Module:
    module: nn.Module = _library().MinkowskiConvolution(
        *channels, kernel_size=kernel_size, stride=stride, bias=has_bias, dimension=3
    )
    return module


def _call_library(
    module: nn.Module, x: Any, weight: Tensor, bias: Tensor | None, *, kernel_size: int
) -> Any:
    """Call a module of the library with our weights in place of its own."""
    offsets = _our_offsets(kernel_size).to(weight.device)
    own = dict(module.named_parameters())
    weights = {"kernel": weight.float().index_select(0, offsets).reshape(own["kernel"].shape)}
    if bias is not None:
        weights["bias"] = bias.float().reshape(own["bias"].shape)
    with torch.autocast(x.F.device.type, enabled=False):
        return functional_call(module, weights, (x,))


@dataclass(frozen=True, kw_only=True)
class MinkowskiSparseTensor:
    """A tensor of the library, `raw`; see SparseTensor."""

    raw: Any
    num_particles: int
    levels: dict[int, RaggedIndex]
    """Which rows belong to which particle, by stride; shared by all tensors of one batch."""

    @property
    def features(self) -> Tensor:
        """Features of each site, float32 [M, C]."""
        features: Tensor = self.raw.F
        return features

    @property
    def stride(self) -> int:
        """Voxels a site spans along each axis."""
        return int(self.raw.tensor_stride[0])

    @property
    def coords(self) -> Tensor:
        """Particle and coordinates of each site in units of `stride`, int32 [M, 4]."""
        # The library counts in voxels on every level.
        coords: Tensor = self.raw.C
        scale = coords.new_tensor([1, self.stride, self.stride, self.stride])
        return torch.div(coords, scale, rounding_mode="floor")

    @property
    def index(self) -> RaggedIndex:
        """Which rows belong to which particle."""
        if self.stride not in self.levels:
            particle = self.raw.C[:, 0].to(self.raw.F.device, torch.int64)
            self.levels[self.stride] = RaggedIndex.of_particles(
                particle, num_particles=self.num_particles
            )
        return self.levels[self.stride]

    def _with(self, raw: Any) -> MinkowskiSparseTensor:
        return MinkowskiSparseTensor(raw=raw, num_particles=self.num_particles, levels=self.levels)

    def replace(self, features: Tensor) -> MinkowskiSparseTensor:
        """Return other features [M, C'] on the same sites."""
        raw = _library().SparseTensor(
            features.float(),
            coordinate_map_key=self.raw.coordinate_map_key,
            coordinate_manager=self.raw.coordinate_manager,
        )
        return self._with(raw)

    def strided_conv(
        self, weight: Tensor, bias: Tensor | None, *, kernel_size: int
    ) -> MinkowskiSparseTensor:
        """Convolve with kernel and stride `kernel_size`; weight [K**3, C, C'], bias [C']."""
        channels, stride = (weight.shape[1], weight.shape[2]), kernel_size
        if kernel_size % 2 and kernel_size > 1:
            # The library centres odd kernels. An even one starts at the corner of its cube, and its
            # zeros leave out the sites of other cubes.
            cube = weight.view(*(kernel_size,) * 3, *channels)
            weight = F.pad(cube, (0, 0, 0, 0, 0, 1, 0, 1, 0, 1)).flatten(0, 2)
            kernel_size += 1
        module = _strided_module(channels, kernel_size, stride, bias is not None)
        return self._with(_call_library(module, self.raw, weight, bias, kernel_size=kernel_size))

    def depthwise_conv(
        self, weight: Tensor, bias: Tensor | None, *, kernel_size: int
    ) -> MinkowskiSparseTensor:
        """Convolve every channel by itself on the same sites; weight [K**3, C], bias [C]."""
        module = _depthwise_module(weight.shape[1], kernel_size, bias is not None)
        return self._with(_call_library(module, self.raw, weight, bias, kernel_size=kernel_size))

    def max_pool(self) -> Tensor:
        """Largest value of each feature of a particle, float [N, C]; zeros if it is empty."""
        return self._pool(_library().MinkowskiGlobalMaxPooling())

    def mean_pool(self) -> Tensor:
        """Mean of each feature of a particle, float [N, C]; zeros if it is empty."""
        # In its default mode the rows of the mean are not in the order of the coordinates if there
        # are more than a few particles (seen on the CPU).
        library = _library()
        mode = library.PoolingMode.GLOBAL_AVG_POOLING_KERNEL
        return self._pool(library.MinkowskiGlobalPooling(mode))

    def _pool(self, module: nn.Module) -> Tensor:
        pooled = module(self.raw)
        # Its rows are in the order of its coordinates, and an empty particle has none.
        place = pooled.C[:, 0].to(pooled.F.device, torch.int64)
        out: Tensor = pooled.F.new_zeros(self.num_particles, pooled.F.shape[1])
        return out.index_copy(0, place, pooled.F)


class MinkowskiEngine:
    """Sparse operations of MinkowskiEngine with our weights; see `Engine`.

    If the installed build has `MinkowskiDepthwiseConvolution`, it computes the depth-wise
    convolutions, otherwise `MinkowskiChannelwiseConvolution`. A `MissingDependencyError` is raised
    if the library does not import, or was built without CUDA and `device` is a GPU.
    """

    name = "minkowski"

    def __init__(self, device: torch.device | str = "cpu") -> None:
        device = torch.device(device)
        _library()
        if not _works_on(device):
            raise MissingDependencyError(
                f"the installed MinkowskiEngine does not run on {device.type}",
                field="engine minkowski",
                advice="use the engine 'torch', or a build of MinkowskiEngine for this device",
            )

    def tensor(self, sites: SiteBatch) -> MinkowskiSparseTensor:
        """Return a tensor of stride 1."""
        coordinates = torch.stack(unpack(sites.keys), dim=1).to(torch.int32)
        raw = _library().SparseTensor(sites.features, coordinates=coordinates, device=sites.device)
        return MinkowskiSparseTensor(raw=raw, num_particles=sites.num_particles, levels={})
