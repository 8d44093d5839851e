"""What an encoder is worth: probes of frozen features, and the geometry of the projections."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.neighbors import KNeighborsClassifier
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from clr_train.batch import ParticleBatch
from pilarnet_convert.errors import PilarnetError

__all__ = [
    "Features",
    "Scores",
    "alignment",
    "collect",
    "linear_classifier",
    "linear_probe",
    "majority",
    "nearest_neighbours",
    "neighbour_classifier",
    "uniformity",
]

#: Neighbours that vote on the class of a particle.
NUM_NEIGHBOURS = 20


@dataclass(frozen=True, kw_only=True)
class Features:
    """One vector a particle, in the order of the stream it came from.

    Parameters
    ----------
    values : float array [N, D]
    label : int64 array [N]
    particle : int64 array [N]
        Index of the particle in its split.
    """

    values: NDArray[np.floating]
    label: NDArray[np.int64]
    particle: NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Scores:
    """Accuracy over all particles, and the mean over the classes of the accuracy in each."""

    accuracy: float
    balanced_accuracy: float


def collect(
    batches: Iterator[ParticleBatch],
    *,
    features: Callable[[ParticleBatch], Tensor | NDArray[np.floating]],
    max_particles: int | None = None,
) -> Features:
    """Compute the features of all particles of a stream.

    Parameters
    ----------
    batches : iterator of ParticleBatch
        At least one, with at least one particle.
    features : callable
        Gives the features [N, D] of a batch: an encoder, or `handmade_features`.
    max_particles : int, optional
        Stop after the batch in which this number is reached, and cut there.

    Returns
    -------
    Features
        ``values`` is float32 where `features` returns tensors.

    Raises
    ------
    PilarnetError
        A feature that is not finite; the particles are named.
    """
    parts: list[tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]] = []
    seen = 0
    for batch in batches:
        with torch.no_grad():
            values = features(batch)
        if isinstance(values, Tensor):
            values = values.float().cpu().numpy()
        parts.append((values, batch.label.cpu().numpy(), batch.particle.cpu().numpy()))
        seen += len(values)
        if max_particles is not None and seen >= max_particles:
            break
    values, label, particle = (
        np.concatenate([part[i] for part in parts])[:max_particles] for i in range(3)
    )
    sick = particle[~np.isfinite(values).all(axis=1)]
    if len(sick):
        raise PilarnetError(
            f"features that are not finite, of {len(sick)} of {len(particle)} particles",
            found="particle " + ", ".join(map(str, sick[:8])) + (", ..." if len(sick) > 8 else ""),
            advice="check the shards with pilarnet-stats --verify, or use another checkpoint",
        )
    return Features(values=values, label=label, particle=particle)


def linear_probe(train: Features, *, test: Features) -> Scores:
    """Fit a logistic regression on standardised features and score it on other particles.

    Each class weighs the same in the fit, however many particles it has: what is aimed at is the
    balanced accuracy.

    Parameters
    ----------
    train, test : Features
        Fitted on `train` (its mean and spread standardise both), scored on `test`.

    Returns
    -------
    Scores
    """
    classifier = linear_classifier()
    with warnings.catch_warnings():
        # An untrained encoder's features may be nearly degenerate; the score is what it is.
        warnings.simplefilter("ignore", ConvergenceWarning)
        return _fit_and_score(classifier, train, test)


def nearest_neighbours(train: Features, *, test: Features) -> Scores:
    """Let the `NUM_NEIGHBOURS` particles of the most similar direction vote on the class.

    Parameters
    ----------
    train, test : Features
        Neighbours are looked for in `train` by cosine similarity, for the particles of `test`.

    Returns
    -------
    Scores
    """
    return _fit_and_score(neighbour_classifier(len(train.label)), train, test)


def linear_classifier(class_weight: str | None = "balanced") -> Pipeline:
    """Make what `linear_probe` fits: a regression on standardised features.

    Parameters
    ----------
    class_weight : str or None
        ``balanced`` lets every class weigh the same, None every particle.
    """
    return make_pipeline(
        StandardScaler(), LogisticRegression(max_iter=2000, class_weight=class_weight)
    )


def neighbour_classifier(num_particles: int) -> KNeighborsClassifier:
    """Make what `nearest_neighbours` fits on so many particles."""
    neighbours = min(NUM_NEIGHBOURS, num_particles)
    return KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute")


def majority(train: Features, *, test: Features) -> Scores:
    """Score the guess that every particle is of the most frequent class of `train`."""
    guess = np.bincount(train.label).argmax()
    return _score(test.label, np.full_like(test.label, guess))


def _fit_and_score(classifier: object, train: Features, test: Features) -> Scores:
    if len(np.unique(train.label)) < 2:  # nothing to separate
        return majority(train, test=test)
    classifier.fit(train.values, train.label)  # type: ignore[attr-defined]
    return _score(test.label, classifier.predict(test.values))  # type: ignore[attr-defined]


def _score(truth: NDArray[np.int64], guess: NDArray[np.int64]) -> Scores:
    classes = np.unique(truth)
    return Scores(
        accuracy=float(accuracy_score(truth, guess)),
        # Over the classes that occur; a guess of another class is wrong all the same.
        balanced_accuracy=float(recall_score(truth, guess, labels=classes, average="macro")),
    )


def alignment(first: Tensor, *, second: Tensor) -> float:
    """Compute the mean squared distance of positive pairs on the unit sphere.

    Parameters
    ----------
    first, second : float tensor [N, D]
        Projections of the two views, normalised here. 0 is perfect, 2 is chance.

    Returns
    -------
    float
        Wang and Isola, arXiv:2005.10242, L_align with alpha = 2.
    """
    normalize = torch.nn.functional.normalize
    gap = normalize(first.float()) - normalize(second.float())
    return float(gap.square().sum(dim=1).mean())


def uniformity(rows: Tensor) -> float:
    """Compute how evenly rows spread over the unit sphere; lower is more even.

    Parameters
    ----------
    rows : float tensor [N, D]
        Projections of N > 1 particles, normalised here.

    Returns
    -------
    float
        Wang and Isola, arXiv:2005.10242, L_uniform with t = 2: the logarithm of the mean of
        exp(-2 d^2) over all pairs, 0 when all rows fall together.
    """
    distance = torch.pdist(torch.nn.functional.normalize(rows.float()))
    return float(distance.square().mul(-2).exp().mean().log())
