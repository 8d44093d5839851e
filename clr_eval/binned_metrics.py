"""Where a method fails: its rates in bins of a quantity of the particles."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.metrics import rates

__all__ = ["QUANTITIES", "edges_of", "profile"]

#: Columns of the shards by which particles are sorted, with what an axis calls them.
QUANTITIES: Final = {
    "energy_deposit": "deposited energy [MeV]",
    "num_voxels": "voxels of the particle",
}
_BINS: Final = 8


def edges_of(values: NDArray[Any]) -> NDArray[np.float64]:
    """Choose bins that hold equally many particles, as far as equal values allow.

    Returns
    -------
    float64 array [bins + 1]
        Ascending; the last bin includes its upper edge.
    """
    return np.unique(np.quantile(values.astype(np.float64), np.linspace(0, 1, _BINS + 1)))


def profile(
    values: NDArray[Any],
    *,
    truth: NDArray[np.int64],
    answers: NDArray[np.integer],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Judge answers in each bin of a quantity.

    Parameters
    ----------
    values : array [N]
        The quantity.
    truth : int64 array [N]
    answers : integer array [S, N]
        Of each seed.
    resamples, seed
        As for `clr_eval.metrics.rates`.

    Returns
    -------
    list of dict
        For each bin that holds particles: ``low``, ``high``, ``median`` of the values, ``count``,
        and what `clr_eval.metrics.rates` gives.
    """
    edges = edges_of(values)
    if len(edges) == 1:  # all values are the same
        edges = np.array([edges[0], edges[0]])
    place = np.searchsorted(edges, values, side="right") - 1
    place = place.clip(max=len(edges) - 2)
    bins = []
    for number in range(len(edges) - 1):
        rows = np.flatnonzero(place == number)
        if len(rows):
            bins.append(
                {
                    "low": float(edges[number]),
                    "high": float(edges[number + 1]),
                    "median": float(np.median(values[rows])),
                    "count": len(rows),
                    **rates(truth[rows], answers[:, rows], resamples=resamples, seed=seed),
                }
            )
    return bins
