"""The progress of a report: what its parts take, and how much of that is done.

Costs are in units of one particle that passes the encoder once. They are rough: they have to make
the estimate of the time left useful, not exact.
"""

from __future__ import annotations

from typing import Final

from clr_eval.corruptions import CORRUPTIONS
from clr_eval.methods import Method
from pilarnet_convert.console import ProgressBar

__all__ = ["Progress", "features_cost", "map_cost", "robustness_cost", "trial_cost"]

#: Costs of a particle: in a training step (both passes, and a view of it), and in other work.
_TRAINING: Final = 4.0
_HANDCRAFTED: Final = 0.05
_CLASSIFIERS: Final = {"linear": 0.3, "knn": 0.1, "trees": 2.0, "majority": 0.0}
_MAPPED: Final = 5.0


class Progress:
    """Counts costs on a bar, once there is one."""

    def __init__(self) -> None:
        self._bar: ProgressBar | None = None
        self._done = 0.0

    def begin(self, bar: ProgressBar) -> None:
        """Show what follows on `bar`, whose total is the cost of all parts."""
        self._bar = bar

    def say(self, text: str) -> None:
        """Show what is being done."""
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(0)

    def advance(self, cost: float) -> None:
        """Count a piece of work as done."""
        self._done += cost
        if self._bar is not None:
            self._bar.update(cost)

    def skip(self, cost: float) -> None:
        """Count a part as nothing to do: an earlier report has done it."""
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= cost
            self._bar.update(0)

    @property
    def done(self) -> float:
        """The cost of all that is done."""
        return self._done


def features_cost(kind: str, *, particles: int) -> float:
    """Estimate the cost of computing features, ``handcrafted`` or of an encoder."""
    return particles * (_HANDCRAFTED if kind == "handcrafted" else 1.0)


def trial_cost(method: Method, *, labelled: int, tested: int, trained: int) -> float:
    """Estimate the cost of fitting and predicting; a network trains on `trained` in all steps."""
    if method.classifier is None:
        return _TRAINING * trained + tested
    return _CLASSIFIERS[method.classifier] * (labelled + tested)


def robustness_cost(method: Method, *, tested: int) -> float:
    """Estimate the cost of classifying the test split at every level of every corruption."""
    levels = sum(len([level for level in c.levels if level]) for c in CORRUPTIONS.values())
    return levels * tested * (0.5 if method.features == "handcrafted" else 1.5)


def map_cost(*, particles: int) -> float:
    """Estimate the cost of the map in two dimensions."""
    return _MAPPED * particles
