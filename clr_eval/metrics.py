"""Metrics of predictions: rates, areas under ROC curves, and their bootstrap intervals.

Shapes: S seeds, N particles, C classes, B resamples, K metrics. Every metric is a function of
weights of the particles: ones for its value, the number of times each was drawn for a resample.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.species import CLASS_NAMES, CLASSES

__all__ = ["class_metrics", "probability_metrics", "weighted_auc"]

Floats = NDArray[np.float64]
#: From weights [B, N] to the metrics of each seed, [S, B, K]; NaN where undefined.
Metrics = Callable[[Floats], Floats]

#: The fraction of the resamples inside an interval.
COVERAGE: Final = 0.95
#: The most weights that are in memory at once.
_CHUNK: Final = 4_000_000


def class_metrics(
    truth: NDArray[np.int64], predicted: NDArray[np.integer], *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compute the metrics of predicted classes, of several seeds together.

    Parameters
    ----------
    truth : int64 array [N]
        True classes.
    predicted : integer array [S, N]
        Predicted classes for each seed.
    resamples : int
        Number of bootstrap resamples of the particles, the same for all seeds.
    seed : int
        Seed of the resampling.

    Returns
    -------
    dict
        ``accuracy``; ``balanced_accuracy``, the mean efficiency of the classes that occur; and in
        ``classes``, by name, ``efficiency`` (the fraction of its particles that is recognised) and
        ``purity`` (the fraction of particles assigned to it that is right). Each is a dict:
        ``value``, the mean over the seeds; ``low`` and ``high``, the bootstrap interval of that
        mean (95 %, percentiles); ``seeds``, the value of each; ``spread``, their standard
        deviation, None for one seed. What is undefined is None. ``confusion``: mean counts, a row
        for each true class.
    """

    def metrics(weights: Floats) -> Floats:
        return np.stack([_from_table(_confusion(truth, p, weights)) for p in predicted])

    found = _summaries(metrics, len(truth), resamples=resamples, seed=seed)
    count = len(CLASS_NAMES)
    ones = np.ones((1, len(truth)))
    return {
        "accuracy": found[0],
        "balanced_accuracy": found[1],
        "classes": {
            name: {"efficiency": found[2 + i], "purity": found[2 + count + i]}
            for i, name in enumerate(CLASS_NAMES)
        },
        "confusion": np.mean([_confusion(truth, p, ones)[0] for p in predicted], axis=0).tolist(),
    }


def probability_metrics(
    truth: NDArray[np.int64], probabilities: Floats, *, resamples: int, seed: int
) -> dict[str, Any]:
    """Compute the metrics of predicted probabilities, of several seeds together.

    Parameters
    ----------
    truth : int64 array [N]
    probabilities : float array [S, N, C]
        The most probable class is the predicted class.
    resamples, seed
        As for `class_metrics`.

    Returns
    -------
    dict
        As of `class_metrics`, with ``auc``, the area under the ROC curve: in ``classes`` that of
        the class against the rest, and at the top their mean.
    """
    labels = range(probabilities.shape[2])

    def metrics(weights: Floats) -> Floats:
        areas = np.stack(
            [[weighted_auc(truth == c, p[:, c], weights=weights) for c in labels]
             for p in probabilities]
        ).swapaxes(1, 2)  # fmt: skip
        return np.concatenate([_mean(areas)[..., None], areas], axis=2)

    predicted = probabilities.argmax(axis=2)
    found = class_metrics(truth, predicted, resamples=resamples, seed=seed)
    mean, *each = _summaries(metrics, len(truth), resamples=resamples, seed=seed)
    for name, auc in zip(CLASS_NAMES, each, strict=True):
        found["classes"][name]["auc"] = auc
    return found | {"auc": mean}


def _summaries(metrics: Metrics, count: int, *, resamples: int, seed: int) -> list[dict[str, Any]]:
    values = metrics(np.ones((1, count)))[:, 0]
    drawn = [metrics(weights).mean(axis=0) for weights in _resamples(count, resamples, seed)]
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
    """Draw particles with replacement: the number of times each was drawn, [b, N] at a time."""
    size = max(1, _CHUNK // count)
    for first in range(0, resamples, size):
        rows = range(first, min(first + size, resamples))
        # A generator for each, so that a resample does not depend on how many are held at once.
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


def _confusion(truth: NDArray[np.int64], predicted: NDArray[np.integer], weights: Floats) -> Floats:
    """Count pairs of true and predicted class, [B, C, C]."""
    classes = len(CLASSES)
    cells = np.zeros((len(truth), classes * classes))
    cells[np.arange(len(truth)), truth * classes + predicted] = 1
    table: Floats = (weights @ cells).reshape(len(weights), classes, classes)
    return table


def weighted_auc(positive: NDArray[np.bool_], ranking: Floats, *, weights: Floats) -> Floats:
    """Compute the area under the ROC curve for many weightings of the same particles.

    It is the fraction of pairs of a positive and a negative particle that are ranked correctly; a
    tie counts half (the statistic of Mann and Whitney).

    Parameters
    ----------
    positive : bool array [N]
    ranking : float array [N]
        Larger for particles that look positive.
    weights : float array [B, N]
        Weight of each particle.

    Returns
    -------
    float array [B]
        NaN where no positive or no negative particle has a weight.
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
