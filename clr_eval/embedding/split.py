"""A split in memory: voxels, labels and provenance of its particles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.keys import key, permutation
from clr_train.stream.reader import SplitReader
from pilarnet_convert.shards.reader import ShardPaths, open_shards
from pilarnet_convert.species import CLASSES

__all__ = ["PROVENANCE", "LoadedSplit", "labelled_subset", "read_provenance", "read_split"]

#: Columns of the shards that say what a particle is and where it comes from.
PROVENANCE: Final = (
    *("label", "pdg", "source", "run", "subrun", "event", "entry", "cluster", "track_id"),
    *("energy_init", "energy_deposit"),
)
_BLOCK_PARTICLES: Final = 512
_SUBSET: Final = 0x5B5E7


@dataclass(frozen=True, kw_only=True)
class LoadedSplit:
    """The particles of a split, in the order of the shards.

    Parameters
    ----------
    batch : ParticleBatch
        N particles; 16 bytes per voxel.
    columns : dict of str to array [N]
        `PROVENANCE`, ``num_voxels``, and ``momentum`` [N, 3] at creation, MeV/c.
    """

    batch: ParticleBatch
    columns: dict[str, NDArray[Any]]

    @property
    def label(self) -> NDArray[np.int64]:
        """Classes, int64 [N]."""
        label: NDArray[np.int64] = self.batch.label.numpy()
        return label

    def __len__(self) -> int:
        return self.batch.num_particles

    def take(self, rows: NDArray[np.int64]) -> ParticleBatch:
        """Return the particles at the positions `rows`, int64 [n], in that order."""
        return self.batch.take(torch.from_numpy(rows))


def read_provenance(shards: ShardPaths, *, split: str) -> dict[str, NDArray[Any]]:
    """Read what the particles of a split are and which event they come from.

    Returns
    -------
    dict of str to array [N]
        `PROVENANCE` as in the shards, and ``num_voxels``, int64.
    """
    tables = [shard.read((*PROVENANCE, "offset")) for shard in open_shards(shards).splits[split]]
    columns = {name: np.concatenate([t[name] for t in tables]) for name in PROVENANCE}
    columns["num_voxels"] = np.concatenate([np.diff(t["offset"]) for t in tables])
    return columns


def read_split(shards: ShardPaths, *, split: str, max_particles: int | None = None) -> LoadedSplit:
    """Read a split, or its first `max_particles` particles, into memory.

    A split without particles, or shards that cannot be read, are a `PilarnetError`.
    """
    reader = SplitReader(shards, split=split, block_particles=_BLOCK_PARTICLES)
    count = len(reader.layout.label)
    if max_particles is not None:
        count = min(count, max_particles)
    columns = read_provenance(shards, split=split)
    momenta = [shard.read(("momentum",)) for shard in open_shards(shards).splits[split]]
    columns["momentum"] = np.concatenate([table["momentum"] for table in momenta])
    return LoadedSplit(
        batch=ParticleBatch.from_arrays(reader.read(np.arange(count))),
        columns={name: values[:count] for name, values in columns.items()},
    )


def labelled_subset(label: NDArray[np.int64], *, fraction: float, seed: int) -> NDArray[np.int64]:
    """Draw the particles whose labels a method may see: positions in `label`, int64, ascending.

    Of each class a fraction, above 0 and at most 1, of the particles is drawn, but at least one
    particle. With the same seed, a larger fraction contains the particles of a smaller one.
    """
    drawn: list[NDArray[np.int64]] = []
    for species in CLASSES:
        rows = np.flatnonzero(label == species.label)
        order = permutation(len(rows), key(seed, _SUBSET, species.label))
        drawn.append(rows[order[: max(1, round(fraction * len(rows)))]])
    return np.sort(np.concatenate(drawn))
