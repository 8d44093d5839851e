"""Particles as an Awkward Array, with a record for each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.shards.format import PARTICLE_ARRAYS, VOXEL_ARRAYS, no_particles

if TYPE_CHECKING:
    from pilarnet_convert.shards.shard import Shard

__all__ = ["awkward_of", "to_awkward"]


def to_awkward(shards: Sequence[Shard]) -> ak.Array:
    """Read shards as an Awkward Array, see `ParticleSequence.to_awkward`."""
    parts = [awkward_of(shard.read(), shard.process_names) for shard in shards]
    return ak.concatenate(parts or [awkward_of(no_particles(), ())])


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
    # The extra empty name keeps the type string if there are no names.
    return ak.from_iter([*names, ""], highlevel=True)[code.astype(np.int64)]
