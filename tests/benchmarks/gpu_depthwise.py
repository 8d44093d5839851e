"""The depth-wise convolution by itself, on the sites that the stages of a network have."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.site_keys import unpack
from clr_train.sparse import depthwise as plain
from clr_train.sparse.kernel_map import DepthwiseMap, Sites
from clr_train.stream.stream import ParticleStream
from clr_train.views.make import make_views
from tests.benchmarks.gpu_parts import Figures, Setting, measure_card, median_seconds

__all__ = ["measure_depthwise"]

KERNEL_SIZE = 7
STEM = 4

#: A function, and its inputs: features [M, C] and weights.
Operation = tuple[Callable[..., Tensor], list[Tensor]]


def measure_depthwise(setting: Setting) -> Iterator[Figures]:
    """Time forward and backward for the channels of each stage, in bfloat16.

    *compulsory* bytes are each input read once and each output written once; *gathered* bytes
    count a row of features for each pair of neighbours, as most come from a cache.
    """
    copy = measure_card(setting)["copy_gb_per_second"]
    level = _sites(setting)
    for number, channels in enumerate(setting.channels):
        level = level.coarser(STEM if number == 0 else 2)[0]
        yield _measure(level, channels, setting=setting, copy_gb_per_second=copy)


def _sites(setting: Setting) -> Sites:
    config = setting.config(workers=0)
    batch = next(ParticleStream(config).batches(0)).to(setting.device)
    seen: SiteBatch = make_views(batch, seed=0, epoch=0, view=0, count=2, config=config)
    return Sites(seen.keys, stride=1, num_particles=seen.num_particles)


def _measure(
    level: Sites, channels: int, *, setting: Setting, copy_gb_per_second: float
) -> Figures:
    pairs, num_sites = level.depthwise_map(KERNEL_SIZE), len(level)
    num_pairs = len(pairs.target)
    on_gpu = setting.device.type == "cuda"
    seconds: dict[str, tuple[float, float] | str] = {}
    operations = _operations(pairs, num_sites, channels, device=setting.device)
    for name, operation in operations.items():
        seconds[name] = _times(operation, setting)
    if on_gpu:
        try:
            seconds["warpconvnet"] = _times(_warpconvnet(level, operations["plain"][1][0]), setting)
        except Exception as error:  # it is not there, or of another version
            seconds["warpconvnet"] = f"{type(error).__name__}: {error}".splitlines()[0]
    ours = seconds["triton" if on_gpu else "plain"]
    assert not isinstance(ours, str)
    weights = pairs.volume * channels * 4
    index_bytes = sum(t.element_size() for t in (pairs.source, pairs.kernel)) * num_pairs
    compulsory = (2 * 2 * num_sites * channels + weights + index_bytes) / 1e9
    gathered = (2 * (num_pairs + num_sites) * channels + weights + index_bytes) / 1e9
    cells = _cells_of_boxes(level)
    return {
        "channels": channels,
        "stride": level.stride,
        "sites": num_sites,
        "pairs_per_site": num_pairs / num_sites,
        "longest_particle_sites": int(level.index.count.max()),
        "forward_ms": 1e3 * ours[0],
        "backward_ms": 1e3 * ours[1],
        "compulsory_gb_per_second": compulsory / ours[0],
        "gathered_gb_per_second": gathered / ours[0],
        "gathered_over_copy": gathered / ours[0] / copy_gb_per_second,
        "times_as_fast_as_plain": _ratio(seconds["plain"], ours),
        "times_as_fast_as_warpconvnet": _ratio(seconds.get("warpconvnet", "not there"), ours),
        "dense_over_sparse_arithmetic": cells * pairs.volume / num_pairs,
        "largest_difference_from_plain": _difference(operations),
        "seconds": seconds,
    }


def _ratio(other: tuple[float, float] | str, ours: tuple[float, float]) -> list[float] | str:
    """Forward and backward of another over ours; or why there is none."""
    if isinstance(other, str):
        return other
    return [a / b for a, b in zip(other, ours, strict=True)]


def _inputs(num_sites: int, channels: int, device: torch.device) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    shapes = [(num_sites, channels), (KERNEL_SIZE**3, channels), (channels,)]
    x, weight, bias = (torch.randn(s, generator=generator).to(device) for s in shapes)
    return [t.requires_grad_() for t in (x.bfloat16(), weight, bias)]


def _times(operation: Operation, setting: Setting) -> tuple[float, float]:
    function, inputs = operation
    out = function(*inputs)
    upper = torch.ones_like(out)
    forward = median_seconds(lambda: function(*inputs), setting)
    backward = median_seconds(
        lambda: torch.autograd.grad(out, inputs, upper, retain_graph=True), setting
    )
    return forward, backward


def _difference(operations: dict[str, Operation]) -> float | None:
    """Largest difference from the plain path, over the largest value."""
    if "triton" not in operations:
        return None
    found, expected = (f(*inputs).float() for f, inputs in operations.values())
    return float((found - expected).abs().max() / expected.abs().max())


def _operations(
    pairs: DepthwiseMap, num_sites: int, channels: int, *, device: torch.device
) -> dict[str, Operation]:
    inputs = _inputs(num_sites, channels, device)
    found: dict[str, Operation] = {"plain": (partial(plain.depthwise, pairs=pairs), inputs)}
    if device.type == "cuda":
        from clr_train.sparse import triton_depthwise

        found["triton"] = partial(triton_depthwise.depthwise, pairs=pairs), inputs
    return found


def _warpconvnet(level: Sites, features: Tensor) -> Operation:
    """Return WarpConvNet's operation, which keeps its map of neighbours between calls."""
    from warpconvnet.geometry.types.voxels import Voxels
    from warpconvnet.nn.modules.sparse_conv_depth import SparseDepthwiseConv3d

    module = SparseDepthwiseConv3d(features.shape[1], KERNEL_SIZE).to(features.device).bfloat16()
    places, rows = (
        list(torch.split(t, level.index.count.tolist()))
        for t in (_coordinates(level), features.detach())
    )
    voxels = Voxels(places, rows)

    def convolve(x: Tensor, *_weights: Tensor) -> Tensor:
        out: Tensor = module(voxels.replace(batched_features=x)).feature_tensor
        return out

    return convolve, [features, *module.parameters()]


def _coordinates(level: Sites) -> Tensor:
    return torch.stack(unpack(level.keys)[1:], dim=1).int()


def _cells_of_boxes(level: Sites) -> int:
    """Count the cells of the boxes around the particles, which a dense convolution computes."""
    xyz = _coordinates(level).T.float().contiguous()
    index = level.index
    return int((index.max(xyz, dim=-1) - index.min(xyz) + 1).prod(0).sum())
