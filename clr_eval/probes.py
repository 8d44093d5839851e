"""Probes of frozen features, and baselines, as predictors of the probability of each class."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from clr_train.probe.classifiers import fit_classifier
from clr_train.probe.features import Features
from pilarnet_convert.species import CLASSES

__all__ = ["Probe", "fit_probe"]

#: From features, float [N, D], to the probability of each class, float64 [N, classes].
Probe = Callable[[NDArray[np.floating]], NDArray[np.float64]]


def fit_probe(features: Features, *, classifier: str, class_weight: str, seed: int) -> Probe:
    """Fit a classifier to features and labels, which may be of a single class.

    Parameters
    ----------
    features : Features
        What to learn from.
    classifier : str
        A name of `clr_train.probe.classifiers.CLASSIFIERS`.
    class_weight : str
        A name of `clr_eval.methods.CLASS_WEIGHTS`; it does not affect the votes of neighbours.
    seed : int
        Seed of a classifier that uses random numbers.

    Returns
    -------
    Probe
        It gives 0 for a class without a label in `features`.
    """
    weight = None if class_weight == "none" else class_weight
    model = fit_classifier(
        classifier, features.values, features.label, class_weight=weight, seed=seed
    )
    seen = np.unique(features.label)

    def predict(values: NDArray[np.floating]) -> NDArray[np.float64]:
        probabilities = np.zeros((len(values), len(CLASSES)))
        probabilities[:, seen] = model.predict_proba(values)
        return probabilities

    return predict
