"""The progress of a report: how long its parts take, and how much of that is done.

Costs are rough estimates in seconds.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from clr_eval.corruptions import CORRUPTIONS
from clr_eval.methods import Method
from clr_train.probe.handcrafted import HANDCRAFTED_FEATURES
from pilarnet_convert.console.progress import ProgressBar

__all__ = ["CostBar", "Costs"]

#: Cost of a particle in a training step: forward and backward pass and the making of a view. In
#: units of encoding one particle.
_TRAINING: Final = 4.0
#: Seconds of a CPU core for a particle; for classifiers, for each feature of it.
_HANDCRAFTED_S: Final = 3e-5
_FITTED_S: Final = {"linear": 1.5e-6, "knn": 5e-7, "trees": 4.5e-5, "majority": 0.0}
_CORRUPTED_S: Final = 3e-4
_MAPPED_S: Final = 3.3e-3


class CostBar:
    """Counts costs, and shows them on a bar once there is one."""

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
        """Take a part off the total: an earlier report has done it."""
        if self._bar is not None and self._bar.total is not None:
            self._bar.total -= cost
            self._bar.update(0)

    @property
    def done(self) -> float:
        """The cost of all that is done."""
        return self._done


@dataclass(frozen=True, kw_only=True)
class Costs:
    """Estimates the seconds that parts of a report take.

    Parameters
    ----------
    encoding_s : float
        How long the encoder takes for each particle on this machine, seconds.
    num_features : int
        The number of its features.
    """

    encoding_s: float
    num_features: int

    def features(self, kind: str, *, particles: int) -> float:
        """Estimate for features, ``handcrafted`` or of an encoder."""
        return particles * (_HANDCRAFTED_S if kind == "handcrafted" else self.encoding_s)

    def trial(self, method: Method, *, labelled: int, tested: int, trained: int) -> float:
        """Estimate for a fit and predictions; a network trains on `trained` in all steps."""
        if method.classifier is None:
            return self.encoding_s * (_TRAINING * trained + tested)
        is_handcrafted = method.features == "handcrafted"
        width = len(HANDCRAFTED_FEATURES) if is_handcrafted else self.num_features
        return _FITTED_S[method.classifier] * width * labelled

    def robustness(self, method: Method, *, tested: int) -> float:
        """Estimate for classifying the test split at every level of every corruption."""
        levels = sum(len([level for level in c.levels if level]) for c in CORRUPTIONS.values())
        features = self.features(method.features or "trained", particles=tested)
        return levels * (_CORRUPTED_S * tested + features)

    @staticmethod
    def map(*, particles: int) -> float:
        """Estimate for the map in two dimensions."""
        return _MAPPED_S * particles
