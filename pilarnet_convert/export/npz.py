"""One ``.npz`` file per particle, as the original study kept them (arXiv:2502.07724)."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from pilarnet_convert.export.numbering import numbered_shards
from pilarnet_convert.shards.reader import Shards

__all__ = ["write_split"]


def write_split(shards: Shards, split: str, folder: Path, advance: Callable[[int], object]) -> None:
    """Write ``SPLIT/SHARD/INDEX.npz``: ``xyz``, ``energy``, and every column of the particle.

    Parameters
    ----------
    shards : Shards
        The set.
    split : str
        The split to write.
    folder : Path
        The folder to write into.
    advance : callable
        Called with the number of particles written since its last call.
    """
    for number, shard in numbered_shards(shards, split):
        inside = folder / split / number
        inside.mkdir(parents=True)
        for particle in shard:
            np.savez(
                inside / f"{particle.index:08d}.npz",
                xyz=particle.xyz.astype(np.uint16),
                energy=particle.energy,
                **particle.columns,
            )
            advance(1)
