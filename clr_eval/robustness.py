"""Predictions for corrupted test data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.cache import Arrays
from clr_eval.corruptions import CORRUPTIONS, Corruption
from clr_eval.evaluation import Evaluation, Predictor, Trial
from clr_eval.metrics import class_metrics

__all__ = ["robustness"]

#: Particles corrupted at once: affects memory, not the result.
_BATCH: Final = 1024
#: Seed of the corruptions; the same for all methods and seeds.
_SEED: Final = 0


def robustness(evaluation: Evaluation, *, methods: Sequence[str]) -> dict[str, Any]:
    """Evaluate methods, at the largest fraction of the labels, on corrupted data.

    Returns
    -------
    dict
        For each corruption: its ``title``, ``axis``, ``levels``, and in ``methods``, by name,
        lists over the levels of ``accuracy`` and ``balanced_accuracy`` of `class_metrics`.
    """
    predicted: dict[str, list[Arrays]] = {}
    for method in methods:
        trials = evaluation.trials(method, evaluation.config.largest_fraction)
        predicted[method] = [_predicted_classes(evaluation, trial) for trial in trials]
    result: dict[str, Any] = {}
    for name, corruption in CORRUPTIONS.items():
        curves = {}
        for method, by_seed in predicted.items():
            found = [
                class_metrics(
                    evaluation.test.label,
                    np.stack([seed[name][level] for seed in by_seed]),
                    resamples=evaluation.config.resamples,
                    seed=_SEED,
                )
                for level in range(len(corruption.levels))
            ]
            curves[method] = {
                metric: [level[metric] for level in found]
                for metric in ("accuracy", "balanced_accuracy")
            }
        result[name] = {
            "title": corruption.title,
            "axis": corruption.axis,
            "levels": list(corruption.levels),
            "methods": curves,
        }
    return result


def _predicted_classes(evaluation: Evaluation, trial: Trial) -> Arrays:
    """Classify the test split at every level of every corruption, int8 [levels, N] of each."""
    cost = evaluation.costs.robustness(trial.method, tested=len(evaluation.test))
    num_levels = sum(len(corruption.levels) for corruption in CORRUPTIONS.values())

    def make() -> Arrays:
        predict = evaluation.predictor(trial)
        clean = evaluation.probabilities(trial).argmax(axis=1)
        found = {}
        for name, corruption in CORRUPTIONS.items():
            rows = []
            for level in corruption.levels:
                evaluation.say(f"{trial}: {corruption.title} {level:g}")
                rows.append(_classify(evaluation, predict, corruption, level) if level else clean)
                evaluation.progress.advance(cost / num_levels)
            found[name] = np.stack(rows).astype(np.int8)
        return found

    facts = {
        "method": evaluation.dependencies(trial),
        "levels": {name: list(c.levels) for name, c in CORRUPTIONS.items()},
    }
    return evaluation.cache.get(f"robustness-{trial.name}", depends_on=facts, make=make, cost=cost)


def _classify(
    evaluation: Evaluation, predict: Predictor, corruption: Corruption, level: float
) -> NDArray[np.int64]:
    """Classify the test split at one level of one corruption, int64 [N]."""
    pieces = evaluation.test.batch.split(_BATCH)
    corrupted = (corruption.apply(piece, level, _SEED) for piece in pieces)
    return np.concatenate([predict(piece).argmax(axis=1) for piece in corrupted])
