"""Classifiers on vectors: probes of frozen features, and baselines.

The linear and the nearest-neighbour probe are those by which a training run judges itself (see
`clr_train.probe.probes`), here with the probability of each class, which ROC curves need.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning

from clr_train.probe.probes import Features, linear_classifier, neighbour_classifier
from pilarnet_convert.species import CLASSES

__all__ = ["CLASSIFIERS", "fit_probe"]

#: Predicts the probability of each class, [N, D] -> float64 [N, classes].
Predictor = Callable[[NDArray[np.floating]], NDArray[np.float64]]

_MAJORITY: Final = "majority"

#: What makes an unfitted classifier, given the number of particles it is fitted on, the weight of
#: a class in scikit-learn's terms, and a seed.
CLASSIFIERS: Final[Mapping[str, Callable[[int, str | None, int], Any]]] = MappingProxyType(
    {
        "linear": lambda _count, weight, _seed: linear_classifier(weight),
        "knn": lambda count, _weight, _seed: neighbour_classifier(count),
        "trees": lambda _count, weight, seed: HistGradientBoostingClassifier(
            class_weight=weight, random_state=seed
        ),
        _MAJORITY: lambda _count, _weight, _seed: DummyClassifier(strategy="prior"),
    }
)


def fit_probe(features: Features, *, classifier: str, class_weight: str, seed: int) -> Predictor:
    """Fit a classifier.

    Parameters
    ----------
    features : Features
        What it learns from; a single class is learned as the answer to everything.
    classifier : str
        A name of `CLASSIFIERS`.
    class_weight : str
        A name of `clr_eval.methods.CLASS_WEIGHTS`; neighbours vote the same with either.
    seed : int
        Of a classifier that draws.

    Returns
    -------
    callable
        From vectors [N, D] to probabilities, float64 [N, classes]; 0 for a class that it has
        not seen.
    """
    seen = np.unique(features.label)
    name = classifier if len(seen) > 1 else _MAJORITY
    weight = None if class_weight == "none" else class_weight
    model = CLASSIFIERS[name](len(features.label), weight, seed)
    with warnings.catch_warnings():
        # Features that are nearly degenerate, as of an untrained encoder; the score is what it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features.values, features.label)

    def predict(values: NDArray[np.floating]) -> NDArray[np.float64]:
        probabilities = np.zeros((len(values), len(CLASSES)))
        probabilities[:, seen] = model.predict_proba(values)
        return probabilities

    return predict
