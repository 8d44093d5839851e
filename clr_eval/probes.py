"""Classifiers on vectors: probes of frozen features, and baselines.

The linear and the nearest-neighbour probe are those by which a training run judges itself (see
`clr_train.evaluate`), here with the probability of each class, which ROC curves need. What is
fitted weighs the classes alike, as the networks do (see `clr_eval.classifier`): the aim is
balanced accuracy.
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

from clr_train.evaluate import Features, linear_classifier, neighbour_classifier
from pilarnet_convert.schema import CLASSES

__all__ = ["CLASSIFIERS", "fit_probe"]

#: Predicts the probability of each class, [N, D] -> float64 [N, classes].
Predictor = Callable[[NDArray[np.floating]], NDArray[np.float64]]

_MAJORITY: Final = "majority"

#: What makes an unfitted classifier, given the number of particles it is fitted on and a seed.
CLASSIFIERS: Final[Mapping[str, Callable[[int, int], Any]]] = MappingProxyType(
    {
        "linear": lambda _count, _seed: linear_classifier(),
        "knn": lambda count, _seed: neighbour_classifier(count),
        "trees": lambda _count, seed: HistGradientBoostingClassifier(
            class_weight="balanced", random_state=seed
        ),
        _MAJORITY: lambda _count, _seed: DummyClassifier(strategy="prior"),
    }
)


def fit_probe(features: Features, *, classifier: str, seed: int) -> Predictor:
    """Fit a classifier.

    Parameters
    ----------
    features : Features
        What it learns from; a single class is learned as the answer to everything.
    classifier : str
        A name of `CLASSIFIERS`.
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
    model = CLASSIFIERS[name](len(features.label), seed)
    with warnings.catch_warnings():
        # Features that are nearly degenerate, as of an untrained encoder; the score is what it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(features.values, features.label)

    def predict(values: NDArray[np.floating]) -> NDArray[np.float64]:
        probabilities = np.zeros((len(values), len(CLASSES)))
        probabilities[:, seen] = model.predict_proba(values)
        return probabilities

    return predict
