"""What predictions are worth: rates, areas under ROC curves, and intervals by bootstrap.

Shapes: S seeds, N particles, C classes, B resamples. Every figure is a function of weights of the
particles: all ones for the value, how often each was drawn for a resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.species import CLASSES

__all__ = ["rates", "score", "weighted_auc"]

Floats = NDArray[np.float64]
#: From weights [B, N] to K figures of each seed, [S, B, K]; NaN where undefined.
Figures = Callable[[Floats], Floats]

#: The interval that is given holds this share of the resamples.
COVERAGE: Final = 0.95
_NAMES: Final = tuple(species.name for species in CLASSES)
_CHUNK: Final = 4_000_000  # weights in memory at once


def rates(
    truth: NDArray[np.int64], answers: NDArray[np.integer], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Judge answers of several seeds together.

    Parameters
    ----------
    truth : int64 array [N]
        Classes.
    answers : integer array [S, N]
        What each seed answers.
    resamples : int
        How often the particles are drawn anew, with replacement, for the intervals. All seeds
        see the same draw, and their mean is what the interval speaks of.
    seed : int
        Of the resampling.

    Returns
    -------
    dict
        ``accuracy``; ``balanced_accuracy``, the mean efficiency of the classes that occur; and in
        ``classes``, by name, ``efficiency`` (of its particles, the share that is found) and
        ``purity`` (of what is called so, the share that is right). Each is a dict: ``value``, the
        mean over the seeds; ``low`` and ``high``, the bootstrap interval of that mean (95 %,
        percentiles); ``seeds``, the value of each; ``spread``, their standard deviation, None for
        one seed. What is undefined is None. ``confusion``: rows are true classes, mean counts.
    """

    def figures(weights: Floats) -> Floats:
        return np.stack([_from_table(_confusion(truth, a, weights)) for a in answers])

    found = _summaries(figures, len(truth), resamples=resamples, seed=seed)
    count = len(_NAMES)
    alone = np.ones((1, len(truth)))
    return {
        "accuracy": found[0],
        "balanced_accuracy": found[1],
        "classes": {
            name: {"efficiency": found[2 + i], "purity": found[2 + count + i]}
            for i, name in enumerate(_NAMES)
        },
        "confusion": np.mean([_confusion(truth, a, alone)[0] for a in answers], axis=0).tolist(),
    }


def score(
    truth: NDArray[np.int64], probabilities: Floats, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Judge predicted probabilities of several seeds together.

    Parameters
    ----------
    truth : int64 array [N]
    probabilities : float array [S, N, C]
        The most probable class is the answer.
    resamples, seed
        As for `rates`.

    Returns
    -------
    dict
        As of `rates`, and the area under the ROC curve of each class against the rest, ``auc``,
        beside its efficiency; over all, its mean over the classes.
    """

    def figures(weights: Floats) -> Floats:
        areas = np.stack(
            [
                [
                    weighted_auc(truth == c, p[:, c], weights=weights)
                    for c in range(probabilities.shape[2])
                ]
                for p in probabilities
            ]
        ).swapaxes(1, 2)
        return np.concatenate([_mean(areas)[..., None], areas], axis=2)

    judged = rates(truth, probabilities.argmax(axis=2), resamples=resamples, seed=seed)
    mean, *each = _summaries(figures, len(truth), resamples=resamples, seed=seed)
    for name, auc in zip(_NAMES, each, strict=True):
        judged["classes"][name]["auc"] = auc
    return judged | {"auc": mean}


def _summaries(figures: Figures, count: int, *, resamples: int, seed: int) -> list[dict[str, Any]]:
    values = figures(np.ones((1, count)))[:, 0]
    drawn = [figures(weights).mean(axis=0) for weights in _resamples(count, resamples, seed)]
    replicates = np.concatenate(drawn) if drawn else np.empty((0, values.shape[1]))
    return [_summary(values[:, k], replicates[:, k]) for k in range(values.shape[1])]


def _summary(values: Floats, replicates: Floats) -> dict[str, Any]:
    finite = replicates[np.isfinite(replicates)]
    tail = (1 - COVERAGE) / 2
    low, high = np.quantile(finite, [tail, 1 - tail]) if len(finite) else (np.nan, np.nan)
    return {
        "value": _number(values.mean()),
        "low": _number(low),
        "high": _number(high),
        "seeds": [_number(v) for v in values],
        "spread": _number(values.std(ddof=1)) if len(values) > 1 else None,
    }


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None


def _resamples(count: int, resamples: int, seed: int) -> Iterator[Floats]:
    """Draw particles with replacement: how often each was drawn, [b, N] at a time."""
    size = max(1, _CHUNK // count)
    for first in range(0, resamples, size):
        rows = range(first, min(first + size, resamples))
        # A generator each: what a resample is does not depend on how many are held at once.
        draws = (np.random.default_rng([seed, row]).integers(0, count, count) for row in rows)
        yield np.stack([np.bincount(d, minlength=count) for d in draws]).astype(np.float64)


def _from_table(table: Floats) -> Floats:
    """Compute accuracy, balanced accuracy, efficiencies and purities, [B, 2 + 2 C]."""
    diagonal = np.diagonal(table, axis1=1, axis2=2)
    with np.errstate(invalid="ignore", divide="ignore"):
        efficiency = diagonal / table.sum(axis=2)
        purity = diagonal / table.sum(axis=1)
    accuracy = diagonal.sum(axis=1) / table.sum(axis=(1, 2))
    return np.column_stack([accuracy, _mean(efficiency), efficiency, purity])


def _mean(rows: Floats) -> Floats:
    """Average over the classes that occur."""
    there = np.isfinite(rows)
    count = there.sum(axis=-1)
    total = np.where(there, rows, 0).sum(axis=-1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def _confusion(truth: NDArray[np.int64], answer: NDArray[np.integer], weights: Floats) -> Floats:
    """Count pairs of true and given class, [B, C, C]."""
    classes = len(CLASSES)
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + answer] = 1
    table: Floats = (weights @ cells).reshape(len(weights), classes, classes)
    return table


def weighted_auc(positive: NDArray[np.bool_], ranking: Floats, *, weights: Floats) -> Floats:
    """Compute the area under the ROC curve for many weightings of the same particles.

    It is the share of pairs of a positive and a negative that are ranked rightly, a tie counting
    half (Mann and Whitney's statistic).

    Parameters
    ----------
    positive : bool array [N]
    ranking : float array [N]
        Larger for what looks positive.
    weights : float array [B, N]
        How often each particle counts.

    Returns
    -------
    float array [B]
        NaN where no positive or no negative counts.
    """
    order = np.argsort(ranking, kind="stable")
    ties = np.flatnonzero(np.diff(ranking[order], prepend=np.nan) != 0)
    ordered, is_positive = weights[:, order], positive[order]
    right = np.add.reduceat(ordered * is_positive, ties, axis=1)
    wrong = np.add.reduceat(ordered * ~is_positive, ties, axis=1)
    below = wrong.cumsum(axis=1) - wrong / 2
    with np.errstate(invalid="ignore", divide="ignore"):
        area: Floats = (right * below).sum(axis=1) / (right.sum(axis=1) * wrong.sum(axis=1))
    return area
