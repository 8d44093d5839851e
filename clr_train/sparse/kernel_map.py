"""The sites of a level, its coarser levels, and the pairs of sites that a kernel connects.

Legend: M sites, P pairs of neighbours, K kernel size.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from clr_train.ragged import RaggedIndex, list_rows
from clr_train.site_keys import AXIS_BITS, AXIS_MASK, MAX_KERNEL, pack, particle_of, unpack

__all__ = ["Chunk", "DepthwiseMap", "Sites"]

#: Most candidates of a search by planes: beyond this most are far away in z and only take memory.
_MOST_CANDIDATES: Final = 1 << 25


@dataclass(frozen=True, kw_only=True)
class Chunk:
    """Consecutive pairs whose products fit the cache, and the rows that they are summed to."""

    rows: slice
    pairs: slice
    row_offset: Tensor
    """int64 [rows + 1]: first pair of each row, counted from the first of the chunk."""
    by_offset: Tensor
    """int64 [pairs]: the pairs of the chunk in the order of their kernel offsets."""
    offset_start: Tensor
    """int64 [K**3 + 1]: first element of `by_offset` of each kernel offset."""


class DepthwiseMap:
    """All pairs (site, neighbour) under a centred cubic kernel of odd size.

    Pair p says that row `target`[p] receives row `source`[p] through kernel offset `kernel`[p].
    Pairs ascend by (target, kernel); row i owns pairs row_offset[i] .. row_offset[i + 1]. The set
    is symmetric: with (i, j, k) it holds (j, i, K**3 - 1 - k), so gradients need no second map.
    Sites are given as ascending keys, int64 [M], of `clr_train.site_keys`.
    """

    def __init__(self, keys: Tensor, *, kernel_size: int) -> None:
        if kernel_size % 2 == 0 or not 1 <= kernel_size <= MAX_KERNEL:
            raise ValueError(f"kernel_size: expected odd, 1 to {MAX_KERNEL}, found {kernel_size}")
        #: Number of kernel offsets.
        self.volume = kernel_size**3
        self.target, self.source, self.kernel = _neighbours(keys, kernel_size=kernel_size)
        rows = torch.arange(keys.shape[0] + 1, device=keys.device)
        self.row_offset = torch.searchsorted(self.target, rows)
        self._chunks: dict[int, list[Chunk]] = {}

    @cached_property
    def by_kernel(self) -> tuple[Tensor, Tensor]:
        """Pairs in the order of their kernel offsets, int64 [P], and the first of each offset."""
        ascending, order = torch.sort(self.kernel.to(torch.int16), stable=True)
        return order, _starts(ascending, volume=self.volume)

    def chunks(self, num_pairs: int) -> list[Chunk]:
        """Cut the pairs between rows into chunks of about `num_pairs`."""
        if num_pairs not in self._chunks:
            self._chunks[num_pairs] = self._cut(num_pairs)
        return self._chunks[num_pairs]

    def _cut(self, num_pairs: int) -> list[Chunk]:
        total, num_rows = self.target.shape[0], self.row_offset.shape[0] - 1
        marks = torch.arange(num_pairs, max(total, num_pairs), num_pairs, device=self.target.device)
        cuts = torch.searchsorted(self.row_offset, marks)
        cuts = cuts[cuts.diff(prepend=cuts.new_zeros(1)) > 0]
        ends = torch.stack([cuts, self.row_offset[cuts]]).tolist()
        row_ends, pair_ends = [0, *ends[0], num_rows], [0, *ends[1], total]
        chunks = []
        for r0, r1, p0, p1 in zip(row_ends, row_ends[1:], pair_ends, pair_ends[1:], strict=False):
            if r0 == r1:
                continue
            ascending, order = torch.sort(self.kernel[p0:p1].to(torch.int16), stable=True)
            chunks.append(
                Chunk(
                    rows=slice(r0, r1),
                    pairs=slice(p0, p1),
                    row_offset=self.row_offset[r0 : r1 + 1] - p0,
                    by_offset=order,
                    offset_start=_starts(ascending, volume=self.volume),
                )
            )
        return chunks


def _starts(ascending: Tensor, *, volume: int) -> Tensor:
    """First position of each value 0 .. volume in ascending int16 values, int64 [volume + 1]."""
    values = torch.arange(volume + 1, device=ascending.device, dtype=torch.int16)
    return torch.searchsorted(ascending, values)


def _neighbours(keys: Tensor, *, kernel_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return target, source and kernel offset of all pairs, each int64 [P], in ascending order."""
    if _searches_planes(keys):
        ranges = _plane_ranges(keys, kernel_size=kernel_size)
        if int(ranges[1].sum()) <= _MOST_CANDIDATES:
            return _pairs_of_planes(keys, *ranges, kernel_size=kernel_size)
    return _pairs_of_columns(keys, kernel_size=kernel_size)


def _searches_planes(keys: Tensor) -> bool:
    """Whether to search planes, which takes a third of the time of columns on the CPU.

    Columns avoid a synchronisation with the GPU for the number of pairs, and memory for candidates.
    """
    return keys.device.type == "cpu"


def _plane_ranges(keys: Tensor, *, kernel_size: int) -> tuple[Tensor, Tensor]:
    """Find, for each site and each plane x + dx, the rows with y + dy inside the kernel.

    Two searches for each of the K planes give the first row and the number of rows, int64 [M * K].
    """
    reach = kernel_size // 2
    planes = torch.arange(-reach, reach + 1, device=keys.device) << (2 * AXIS_BITS)
    origin = (keys & ~AXIS_MASK)[:, None] + planes
    first = torch.searchsorted(keys, origin - (reach << AXIS_BITS)).flatten()
    last = torch.searchsorted(keys, origin + (reach + 1 << AXIS_BITS)).flatten()
    return first, last - first


def _pairs_of_planes(
    keys: Tensor, first: Tensor, count: Tensor, *, kernel_size: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return the pairs of the rows of each plane's range that are inside the kernel in z."""
    reach = kernel_size // 2
    source, run = list_rows(first, count)
    target = torch.div(run, kernel_size, rounding_mode="floor")
    dz = _difference(keys & AXIS_MASK, source, target)
    near = (dz.abs() <= reach).nonzero().squeeze(1)
    source, target, run, dz = (t.index_select(0, near) for t in (source, target, run, dz))
    dy = _difference(keys >> AXIS_BITS & AXIS_MASK, source, target)
    plane = run - target * kernel_size
    return target, source, (plane * kernel_size + dy + reach) * kernel_size + dz + reach


def _pairs_of_columns(keys: Tensor, *, kernel_size: int) -> tuple[Tensor, Tensor, Tensor]:
    """Find, for each site and each of the K**2 columns (x + dx, y + dy), the rows in the kernel."""
    reach = kernel_size // 2
    steps = torch.arange(-reach, reach + 1, device=keys.device)
    columns = ((steps[:, None] << 2 * AXIS_BITS) + (steps << AXIS_BITS)).flatten()
    middle = keys[:, None] + columns
    first = torch.searchsorted(keys, middle - reach).flatten()
    last = torch.searchsorted(keys, middle + reach, right=True).flatten()
    source, run = list_rows(first, last - first)
    target = torch.div(run, len(columns), rounding_mode="floor")
    dz = _difference(keys, source, target) - columns.index_select(0, run - target * len(columns))
    return target, source, (run - target * len(columns)) * kernel_size + dz + reach


def _difference(values: Tensor, source: Tensor, target: Tensor) -> Tensor:
    return values.index_select(0, source) - values.index_select(0, target)


class Sites:
    """The sites of one level, their coarser levels and kernel maps.

    `keys`, int64 [M], are those of `clr_train.site_keys`, distinct and ascending; a site spans
    `stride` voxels along each axis.
    """

    def __init__(self, keys: Tensor, *, stride: int, num_particles: int) -> None:
        self.keys = keys
        self.stride = stride
        self.num_particles = num_particles
        self._depthwise: dict[int, DepthwiseMap] = {}
        self._coarser: dict[int, tuple[Sites, Tensor, Tensor]] = {}

    def __len__(self) -> int:
        return self.keys.shape[0]

    @cached_property
    def index(self) -> RaggedIndex:
        """Which sites belong to which particle."""
        return RaggedIndex.of_particles(
            particle_of(self.keys), num_particles=self.num_particles, is_sorted=True
        )

    def depthwise_map(self, kernel_size: int) -> DepthwiseMap:
        """Return the pairs under a centred kernel, built at the first call."""
        if kernel_size not in self._depthwise:
            self._depthwise[kernel_size] = DepthwiseMap(self.keys, kernel_size=kernel_size)
        return self._depthwise[kernel_size]

    def coarser(self, factor: int) -> tuple[Sites, Tensor, Tensor]:
        """Return the level of `factor` times the stride, built at the first call.

        Its sites are the cubes of `factor` sites along each axis that hold any. The two tensors,
        int64 [M], give the row of the cube in which each site lies, and the kernel offset of the
        site in it, 0 .. factor**3 - 1.
        """
        if factor not in self._coarser:
            particle, *xyz = unpack(self.keys)
            cube = [torch.div(axis, factor, rounding_mode="floor") for axis in xyz]
            dx, dy, dz = (axis - low * factor for axis, low in zip(xyz, cube, strict=True))
            keys, parent = torch.unique(pack(particle, cube), return_inverse=True)
            sites = Sites(keys, stride=self.stride * factor, num_particles=self.num_particles)
            self._coarser[factor] = sites, parent, (dx * factor + dy) * factor + dz
        return self._coarser[factor]
