"""Metrics of a method in bins of a quantity of the particles."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.metrics import class_metrics

__all__ = ["QUANTITIES", "binned_metrics"]

#: Columns of the shards to bin particles by, with the label of an axis.
QUANTITIES: Final = {
    "energy_deposit": "deposited energy [MeV]",
    "num_voxels": "voxels of the particle",
}
_BINS: Final = 8


def binned_metrics(
    values: NDArray[Any],
    *,
    truth: NDArray[np.int64],
    predicted: NDArray[np.integer],
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Compute metrics in bins of equally many particles, as far as equal values allow.

    Parameters
    ----------
    values : array [N]
        The quantity; particles of which it is not known (NaN) are in no bin.
    truth, predicted, resamples, seed
        As for `clr_eval.metrics.class_metrics`.

    Returns
    -------
    list of dict
        For each bin that holds particles, in ascending order: ``low``, ``high``, ``median`` of the
        values, ``count``, and what `clr_eval.metrics.class_metrics` gives.
    """
    known = np.flatnonzero(np.isfinite(values))
    if not len(known):
        return []
    edges = np.unique(np.quantile(values[known].astype(np.float64), np.linspace(0, 1, _BINS + 1)))
    edges = np.repeat(edges, 2) if len(edges) == 1 else edges  # all values are the same
    bin_of = (np.searchsorted(edges, values[known], side="right") - 1).clip(max=len(edges) - 2)
    bins = []
    for number in np.unique(bin_of):
        rows = known[bin_of == number]
        bins.append(
            {
                "low": float(edges[number]),
                "high": float(edges[number + 1]),
                "median": float(np.median(values[rows])),
                "count": len(rows),
                **class_metrics(truth[rows], predicted[:, rows], resamples=resamples, seed=seed),
            }
        )
    return bins
