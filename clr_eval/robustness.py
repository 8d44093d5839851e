"""What becomes of predictions when the test data get worse."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.corruptions import DISTURBANCES, disturb
from clr_eval.evaluation import Predict, Subject
from clr_eval.methods import METHODS
from clr_eval.metrics import rates

__all__ = ["answers_when_disturbed", "robustness"]

#: Particles made worse at once; sets memory and not the result.
_BATCH: Final = 1024
#: Of the draws that make test data worse; the same for all methods and seeds.
_SEED: Final = 0


def robustness(
    subject: Subject, *, methods: tuple[str, ...], advance: Callable[[], object]
) -> dict[str, Any]:
    """Judge methods at the largest label fraction on data made worse.

    Parameters
    ----------
    subject : Subject
    methods : tuple of str
        Names of `METHODS`.
    advance : callable
        Called when a method is done with a seed.

    Returns
    -------
    dict
        By disturbance: its ``title``, ``axis``, ``levels``, and in ``methods``, by name, lists
        over the levels of ``accuracy`` and ``balanced_accuracy`` as `clr_eval.metrics.rates` gives.
    """
    fraction = subject.config.largest_fraction
    answers: dict[str, list[dict[str, NDArray[Any]]]] = {}
    for method in methods:
        answers[method] = []
        for seed in subject.seeds(method, fraction):
            answers[method].append(answers_when_disturbed(subject, method, seed=seed))
            advance()
    result: dict[str, Any] = {}
    for name, disturbance in DISTURBANCES.items():
        curves = {}
        for method, by_seed in answers.items():
            judged = [
                rates(
                    subject.test.label,
                    np.stack([seed[name][level] for seed in by_seed]),
                    resamples=subject.config.resamples,
                    seed=_SEED,
                )
                for level in range(len(disturbance.levels))
            ]
            curves[method] = {
                figure: [level[figure] for level in judged]
                for figure in ("accuracy", "balanced_accuracy")
            }
        result[name] = {
            "title": disturbance.title,
            "axis": disturbance.axis,
            "levels": list(disturbance.levels),
            "methods": curves,
        }
    return result


def answers_when_disturbed(subject: Subject, method: str, *, seed: int) -> dict[str, NDArray[Any]]:
    """Classify the test split at every level of every disturbance, once.

    Returns
    -------
    dict of str to int8 array [levels, N]
        By disturbance.
    """
    fraction = subject.config.largest_fraction

    def make() -> dict[str, NDArray[Any]]:
        predict = subject.predictor(method, fraction=fraction, seed=seed)
        untouched = subject.probabilities(method, fraction=fraction, seed=seed).argmax(axis=1)
        found = {}
        for name, disturbance in DISTURBANCES.items():
            rows = []
            for level in disturbance.levels:
                subject.say(f"{METHODS[method].title}, seed {seed}: {disturbance.title} {level:g}")
                rows.append(untouched if level == 0 else _answers(subject, predict, name, level))
            found[name] = np.stack(rows).astype(np.int8)
        return found

    # What the prediction without disturbance depends on is what this depends on, and the levels.
    facts = {
        "method": subject.facts(method, fraction=fraction, seed=seed),
        "levels": {name: list(d.levels) for name, d in DISTURBANCES.items()},
    }
    return subject.cache.get(f"robustness-{method}", depends_on=facts, make=make)


def _answers(subject: Subject, predict: Predict, name: str, level: float) -> NDArray[np.int64]:
    """Classify the test split at one level of one disturbance."""
    guesses = [
        predict(disturb(piece, name=name, level=level, seed=_SEED)).argmax(axis=1)
        for piece in subject.test.batch.split(_BATCH)
    ]
    return np.concatenate(guesses)
