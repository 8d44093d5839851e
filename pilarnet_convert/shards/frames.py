"""Particles as a pandas table, and how many there are of each class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pilarnet_convert.shards.format import PARTICLE_ARRAYS, SPLITS, no_particles
from pilarnet_convert.species import CLASS_NAMES

if TYPE_CHECKING:
    from pilarnet_convert.shards.reader import Shards
    from pilarnet_convert.shards.shard import Shard

__all__ = ["class_counts", "to_pandas"]


def to_pandas(shards: Sequence[Shard]) -> pd.DataFrame:
    """Read shards as a table, see `ParticleSequence.to_pandas`."""
    parts = [
        _table(shard.read(tuple(PARTICLE_ARRAYS)), shard.process_names, split=shard.split)
        for shard in shards
    ]
    table = pd.concat(parts or [_table(no_particles(), (), split="")], ignore_index=True)
    return table.astype({"split": "category", "process": "category"})


def _table(
    arrays: dict[str, NDArray[Any]], process_names: Sequence[str], *, split: str
) -> pd.DataFrame:
    columns: dict[str, Any] = {
        "split": split,
        "species": pd.Categorical.from_codes(arrays["label"].astype(np.int64), CLASS_NAMES),
        "num_voxels": np.diff(arrays["offset"]),
    }
    for name in PARTICLE_ARRAYS:
        if name == "process":
            columns[name] = np.array(process_names, object)[arrays[name]]
        elif arrays[name].ndim == 2:
            columns |= {f"{name}_{axis}": arrays[name][:, i] for i, axis in enumerate("xyz")}
        elif name != "offset":
            columns[name] = arrays[name]
    return pd.DataFrame(columns)


def class_counts(shards: Shards) -> pd.DataFrame:
    """Count the particles of each class and split, from the root only."""
    counts = {
        split: [sum(s.counts[name] for s in shards.splits[split]) for name in CLASS_NAMES]
        for split in SPLITS
    }
    table = pd.DataFrame(counts, index=list(CLASS_NAMES))
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table
