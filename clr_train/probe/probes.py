"""Probes: how well the class of a particle can be read from frozen features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from clr_train.probe.classifiers import fit_classifier
from clr_train.probe.features import Features

__all__ = ["Scores", "linear_probe", "majority", "nearest_neighbours"]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracy over all particles, and the mean over the classes of the accuracy in each."""

    accuracy: float
    balanced_accuracy: float


def linear_probe(train: Features, *, test: Features) -> Scores:
    """Fit a logistic regression to `train` and score it on `test`.

    Features are standardised by the mean and standard deviation of `train`. Each class has the same
    weight in the fit, whatever its number of particles.
    """
    return _probe("linear", train, test)


def nearest_neighbours(train: Features, *, test: Features) -> Scores:
    """Score the vote of the 20 particles of `train` that are nearest by cosine similarity."""
    return _probe("knn", train, test)


def majority(train: Features, *, test: Features) -> Scores:
    """Score the guess that every particle is of the most frequent class of `train`."""
    return _probe("majority", train, test)


def _probe(classifier: str, train: Features, test: Features) -> Scores:
    guess = fit_classifier(classifier, train.values, train.label).predict(test.values)
    right = guess == test.label
    by_class = [right[test.label == c].mean() for c in np.unique(test.label)]
    return Scores(accuracy=float(right.mean()), balanced_accuracy=float(np.mean(by_class)))
