"""Which particles of a split a stream keeps."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from clr_train.stream.config import StreamConfig
from clr_train.stream.layout import Layout

__all__ = ["apply_filters"]


def apply_filters(
    layout: Layout, *, config: StreamConfig
) -> tuple[NDArray[np.int64], dict[str, int]]:
    """Keep particles by class and size.

    Parameters
    ----------
    layout : Layout
        The split.
    config : StreamConfig
        A particle that alone exceeds the voxel budget is not kept either.

    Returns
    -------
    kept : array, int64 [K]
        Indices in the split, ascending.
    removed : dict of str to int
        The number of particles that each option removed, each counted for the first that applies.
    """
    size = layout.num_voxels
    removes = {
        "classes": ~np.isin(layout.label, config.labels),
        "min_voxels": size < config.min_voxels,
        "max_voxels": size > (config.max_voxels or np.inf),
        "voxel_budget": size > (config.voxel_budget or np.inf),
    }
    kept = np.ones(len(size), bool)
    removed = {}
    for name, remove in removes.items():
        removed[name] = int(np.count_nonzero(kept & remove))
        kept &= ~remove
    return np.flatnonzero(kept), removed
