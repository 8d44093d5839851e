"""Particles as an Awkward Array and as a pandas table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pandas as pd
from numpy.typing import NDArray

from pilarnet_convert.shards.format import ARRAYS, PARTICLE_ARRAYS, SPLITS, VOXEL_ARRAYS
from pilarnet_convert.species import CLASS_NAMES

if TYPE_CHECKING:
    from pilarnet_convert.shards.reader import Shards
    from pilarnet_convert.shards.shard import Shard

__all__ = ["awkward_of", "class_counts", "to_awkward", "to_pandas"]


def to_awkward(shards: Sequence[Shard]) -> ak.Array:
    """Read shards as an Awkward Array, see `ParticleSequence.to_awkward`."""
    parts = [awkward_of(shard.read(), shard.process_names) for shard in shards]
    return ak.concatenate(parts or [awkward_of(_no_particles(), ())])


def _no_particles() -> dict[str, NDArray[Any]]:
    arrays = {name: np.zeros((0, *spec.row_shape), spec.dtype) for name, spec in ARRAYS.items()}
    return arrays | {"offset": np.zeros(1, np.int64)}


def awkward_of(arrays: dict[str, NDArray[Any]], process_names: Sequence[str]) -> ak.Array:
    """Make an Awkward Array of a block of particles.

    Parameters
    ----------
    arrays : dict of str to array
        Every array of the format.
    process_names : sequence of str
        What the values of ``process`` index.
    """
    offset = ak.index.Index64(np.ascontiguousarray(arrays["offset"]))
    columns = {
        name: ak.contents.ListOffsetArray(offset, ak.contents.NumpyArray(arrays[name]))
        for name in VOXEL_ARRAYS
    }
    for name in PARTICLE_ARRAYS:
        if name == "process":
            columns[name] = _names(process_names, arrays[name]).layout
        elif name != "offset":
            columns[name] = ak.from_numpy(arrays[name], regulararray=True).layout
    return ak.Array(
        ak.contents.RecordArray(list(columns.values()), list(columns), len(arrays["label"]))
    )


def _names(names: Sequence[str], code: NDArray[np.integer]) -> ak.Array:
    """Return the name of each code, as an array of strings that may be empty."""
    # A name that none has makes the type that of strings where there are no names.
    return ak.from_iter([*names, ""], highlevel=True)[code.astype(np.int64)]


def to_pandas(shards: Sequence[Shard]) -> pd.DataFrame:
    """Read shards as a table, see `ParticleSequence.to_pandas`."""
    parts = [
        _table(shard.read(tuple(PARTICLE_ARRAYS)), shard.process_names, split=shard.split)
        for shard in shards
    ]
    table = pd.concat(parts or [_table(_no_particles(), (), split="")], ignore_index=True)
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
    """Count the particles of each class and split, from the root alone."""
    counts = {
        split: [sum(s.counts[name] for s in shards.splits[split]) for name in CLASS_NAMES]
        for split in SPLITS
    }
    table = pd.DataFrame(counts, index=list(CLASS_NAMES))
    table["all"] = table.sum(axis=1)
    table.loc["all"] = table.sum()
    return table
