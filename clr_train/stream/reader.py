"""Reading particles of a split by their numbers, in whole blocks, into a ragged batch.

V voxels, N particles.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.stream.filters import Layout
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import Shard, open_shards

__all__ = ["SplitReader", "plan_reads"]

_VOXELS: Final = ("x", "y", "z", "energy")


def plan_reads(particles: NDArray[np.int64], layout: Layout) -> list[tuple[int, NDArray[np.int64]]]:
    """Decide what to read to have some particles: whole blocks, neighbours in one read.

    Parameters
    ----------
    particles : array, int64 [N]
        Indices in the split, in any order.
    layout : Layout
        The split.

    Returns
    -------
    list of (shard, array of int64 [2])
        The number of a shard, and the first particle and the last, end excluded, of a run of its
        blocks, as indices in the split; ascending.
    """
    starts = layout.block_starts()
    block = np.unique(np.searchsorted(starts, particles, side="right") - 1)
    bounds = np.stack([starts[block], starts[block + 1]], axis=1)
    shard = np.searchsorted(layout.shard_start, bounds[:, 0], side="right") - 1
    new_run = (np.diff(block) > 1) | (np.diff(shard) > 0)
    return [
        (int(shard[run[0]]), np.array([bounds[run[0], 0], bounds[run[-1], 1]]))
        for run in np.split(np.arange(len(block)), np.flatnonzero(new_run) + 1)
        if len(run)
    ]


class SplitReader:
    """One split of a set of shards, read by the numbers of particles.

    It opens the shards when first needed, in whichever process that is, so that it is sent to a
    worker as its counts alone.

    Parameters
    ----------
    path : str or Path
        What ``pilarnet-convert`` wrote.
    split : str
        ``train``, ``val`` or ``test``.
    block_particles : int
        Consecutive particles that are read together.

    Raises
    ------
    ShardError
        If these are no shards that can be read.
    PilarnetError
        If there is no such split, or no particle in it.
    """

    def __init__(self, path: str | Path, *, split: str, block_particles: int) -> None:
        self.path = Path(path)
        self.split = split
        if split not in SPLITS:
            raise PilarnetError(
                "no such split",
                file=self.path,
                field="--split",
                expected=f"one of {', '.join(SPLITS)}",
                found=split,
            )
        if not sum(shard.num_particles for shard in self._shards):
            raise PilarnetError(
                "no particles in the split",
                file=self.path,
                field=split,
                advice="choose another split, or convert more events or with other --splits",
            )
        tables = [shard.read(("label", "offset")) for shard in self._shards]
        sizes = [0, *(shard.num_particles for shard in self._shards)]
        self.layout = Layout(
            num_voxels=np.concatenate([np.diff(t["offset"]) for t in tables]),
            label=np.concatenate([t["label"] for t in tables]).astype(np.int64),
            shard_start=np.cumsum(sizes, dtype=np.int64),
            block_particles=block_particles,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: vars(self)[name] for name in ("path", "split", "layout")}

    @cached_property
    def _shards(self) -> Sequence[Shard]:
        return open_shards(self.path).splits[self.split]

    @cached_property
    def _first_voxel(self) -> NDArray[np.int64]:
        """Give the first voxel of each particle among those of the whole split, int64 [P + 1]."""
        return np.concatenate([[0], np.cumsum(self.layout.num_voxels)])

    def read(self, particles: NDArray[np.int64]) -> ParticleBatch:
        """Read particles, in the order that is asked for.

        Parameters
        ----------
        particles : array, int64 [N]
            Indices in the split.

        Raises
        ------
        ShardError
            If a shard is damaged.
        """
        reads = plan_reads(particles, self.layout)
        pieces = []
        for number, bounds in reads:
            start, stop = (int(b) for b in bounds - self.layout.shard_start[number])
            pieces.append(self._shards[number].read(_VOXELS, start, stop))

        # Where a particle's voxels begin in the pieces, put end to end.
        piece_first = np.array([bounds[0] for _, bounds in reads], np.int64)
        piece_size = [len(piece["energy"]) for piece in pieces]
        piece_row = np.cumsum([0, *piece_size[:-1]], dtype=np.int64)
        piece = np.searchsorted(piece_first, particles, side="right") - 1
        first_voxel = self._first_voxel
        begin = first_voxel[particles] - first_voxel[piece_first[piece]] + piece_row[piece]

        size = self.layout.num_voxels[particles]
        offset = np.concatenate([[0], np.cumsum(size)])
        rows = np.arange(offset[-1]) + np.repeat(begin - offset[:-1], size)
        xyz = np.empty((len(rows), 3), np.int32)
        for axis, name in enumerate("xyz"):
            xyz[:, axis] = np.concatenate([p[name] for p in pieces])[rows]
        energy = np.concatenate([p["energy"] for p in pieces])[rows]
        return ParticleBatch(
            xyz=torch.from_numpy(xyz),
            energy=torch.from_numpy(energy),
            offset=torch.from_numpy(offset),
            label=torch.from_numpy(self.layout.label[particles]),
            particle=torch.from_numpy(np.array(particles, np.int64)),
        )
