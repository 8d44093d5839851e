"""Reading particles of a split by their numbers, in whole blocks, into the arrays of a batch.

Nothing here needs torch, nor does `worker`: a process that reads starts in a fifth of the time and
needs a fifth of the memory without it.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from clr_train.site_keys import MAX_COORDINATE
from clr_train.stream.layout import Layout
from pilarnet_convert.errors import PilarnetError, ShardError
from pilarnet_convert.options import OptionError
from pilarnet_convert.ragged import gather_rows, offsets_of, row_of
from pilarnet_convert.shards.fetch import ShardRead, fetched
from pilarnet_convert.shards.format import ARRAYS, SPLITS
from pilarnet_convert.shards.reader import ShardPaths, Shards, open_shards, path_strings
from pilarnet_convert.shards.shard import Shard
from pilarnet_convert.storage.cache import RangeCache

__all__ = ["BatchArrays", "EmptySplitError", "SplitReader", "plan_reads"]

#: The tensors of a `clr_train.batch.ParticleBatch` as arrays, by name.
BatchArrays: TypeAlias = dict[str, NDArray[Any]]

_VOXELS: Final = ("x", "y", "z", "energy")


def plan_reads(particles: NDArray[np.int64], layout: Layout) -> list[tuple[int, int, int]]:
    """Decide what to read to get particles, int64 [N]: whole blocks, neighbours in one read.

    Returns
    -------
    list of (shard, first, last)
        The number of a shard, and the first particle and the last, end excluded, of a run of its
        blocks, as indices in the split; ascending.
    """
    block = np.unique(layout.block_of(particles))
    first, last = layout.block_start[block], layout.block_start[block + 1]
    shard = row_of(layout.shard_start, first)
    new_run = (np.diff(block) > 1) | (np.diff(shard) > 0)
    return [
        (int(shard[run[0]]), int(first[run[0]]), int(last[run[-1]]))
        for run in np.split(np.arange(len(block)), np.flatnonzero(new_run) + 1)
        if len(run)
    ]


class _VoxelBuffers(threading.local):
    """The arrays into which a thread reads voxels; new memory for each read would take longer."""

    def __init__(self) -> None:
        self._buffers = {name: np.empty(0, ARRAYS[name].dtype) for name in _VOXELS}

    def take(self, num_voxels: int) -> dict[str, NDArray[Any]]:
        """Return an array of `num_voxels` rows for each of `_VOXELS`, until the next call."""
        for name, buffer in self._buffers.items():
            if len(buffer) < num_voxels:
                self._buffers[name] = np.empty(num_voxels, buffer.dtype)
        return {name: buffer[:num_voxels] for name, buffer in self._buffers.items()}


class EmptySplitError(PilarnetError):
    """A split has no particles, or none that passes the filters."""


class SplitReader:
    """One split of a set of shards, read by the indices of particles in it.

    Blocks of `block_particles` consecutive particles are read together. A copy in another process
    opens the shards there, which must be the same set: only sizes and labels are sent. What is read
    of remote shards is kept in `cache`.

    Raises
    ------
    PilarnetError
        The shards cannot be read, or there is no such split, or it has no particles.
    """

    def __init__(
        self,
        paths: ShardPaths,
        *,
        split: str,
        block_particles: int,
        cache: RangeCache | None = None,
    ) -> None:
        self.paths = path_strings(paths)
        self.split, self.cache = split, cache
        if split not in SPLITS:
            raise OptionError(
                "no such split",
                file=self.shards,
                field="--split",
                expected=f"one of {', '.join(SPLITS)}",
                found=split,
            )
        #: A checksum of the contents of the shards.
        self.identity = self.shards.identity
        if not sum(shard.num_particles for shard in self._shards):
            raise EmptySplitError(
                "no particles in the split",
                file=self.shards,
                field=split,
                advice="choose another split, or convert more events or with other --splits",
            )
        names = ("label", "offset")
        with fetched([ShardRead(s, names, 0, s.num_particles) for s in self._shards]):
            tables = [shard.read(names) for shard in self._shards]
        self.layout = Layout(
            num_voxels=np.concatenate([np.diff(table["offset"]) for table in tables]),
            label=np.concatenate([table["label"] for table in tables]).astype(np.int64),
            shard_start=offsets_of(np.array([shard.num_particles for shard in self._shards])),
            block_particles=block_particles,
        )

    def __getstate__(self) -> dict[str, Any]:
        names = ("paths", "split", "cache", "layout", "identity")
        return {name: vars(self)[name] for name in names}

    @cached_property
    def shards(self) -> Shards:
        """The shards, open."""
        shards = open_shards(self.paths, cache=self.cache)
        if vars(self).get("identity", shards.identity) != shards.identity:
            raise ShardError(
                "the shards were replaced after they had been opened",
                file=shards,
                expected=f"the set {self.identity}",
                found=shards.identity,
                advice="start again, and write new shards into another folder",
            )
        edge = max(
            (max(cube["voxels"]) for cube in shards.attributes.get("geometry", ())), default=0
        )
        if edge > MAX_COORDINATE:
            raise ShardError(
                "event cubes too large for the sparse network",
                file=shards,
                expected=f"at most {MAX_COORDINATE} voxels a side",
                found=edge,
                advice="convert events of larger voxels",
            )
        return shards

    @property
    def is_remote(self) -> bool:
        """Whether a shard of the split is in a remote store."""
        return any(shard.is_remote for shard in self._shards)

    @property
    def _shards(self) -> Sequence[Shard]:
        return self.shards.splits[self.split]

    @cached_property
    def _buffers(self) -> _VoxelBuffers:
        return _VoxelBuffers()

    @cached_property
    def _first_voxel(self) -> NDArray[np.int64]:
        """First voxel of each particle among those of the whole split, int64 [P + 1]."""
        return offsets_of(self.layout.num_voxels)

    def read(self, particles: NDArray[np.int64]) -> BatchArrays:
        """Read particles, int64 [N], in the order given; a ShardError if a shard is damaged."""
        reads = plan_reads(particles, self.layout)
        of_shards = []
        for number, first, last in reads:
            start = int(self.layout.shard_start[number])
            of_shards.append(ShardRead(self._shards[number], _VOXELS, first - start, last - start))
        # First row of each read among the rows of all.
        first_read, last_read = np.array([read[1:] for read in reads], np.int64).reshape(-1, 2).T
        read_row = offsets_of(self._first_voxel[last_read] - self._first_voxel[first_read])
        stored = self._buffers.take(int(read_row[-1]))
        with fetched(of_shards):
            for read, (low, high) in zip(of_shards, pairwise(read_row.tolist()), strict=True):
                part = {name: values[low:high] for name, values in stored.items()}
                read.shard.read_voxels(part, read.start, read.stop)

        of_read = row_of(first_read, particles)
        first_row = self._first_voxel[particles] - self._first_voxel[first_read[of_read]]
        rows, offset = gather_rows(first_row + read_row[of_read], self.layout.num_voxels[particles])
        xyz = np.empty((len(rows), 3), np.int32)
        for axis, name in enumerate("xyz"):
            xyz[:, axis] = stored[name].take(rows)
        return {
            "xyz": xyz,
            "energy": stored["energy"].take(rows),
            "offset": offset,
            "label": self.layout.label[particles],
            "particle": np.array(particles, np.int64),
        }
