"""Classifiers, a projection and a search for neighbours: the one module that imports scikit-learn.

Shapes: N particles, D features, C classes that occur.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.dummy import DummyClassifier
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.manifold import TSNE
from sklearn.neighbors import KNeighborsClassifier, NearestNeighbors
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

__all__ = [
    "CLASSIFIERS",
    "MOST_WITHOUT_HOLDOUT",
    "find_neighbours",
    "fit_classifier",
    "project_to_plane",
]

Values = NDArray[np.floating]

#: Neighbours that vote on the class of a particle.
NUM_NEIGHBOURS: Final = 20
#: From more particles, ``trees`` hold a tenth out, drawn by the seed, to find when to stop.
MOST_WITHOUT_HOLDOUT: Final = 10_000
#: Principal components that t-SNE starts from; more are mostly noise, and cost time.
_COMPONENTS: Final = 50
_PERPLEXITY: Final = 30.0

#: Functions that make an unfitted classifier, given the number of particles, scikit-learn's
#: ``class_weight`` and a seed.
CLASSIFIERS: Final[Mapping[str, Callable[[int, str | None, int], Any]]] = MappingProxyType(
    {
        "linear": lambda _count, weight, _seed: make_pipeline(
            StandardScaler(), LogisticRegression(max_iter=2000, class_weight=weight)
        ),
        "knn": lambda count, _weight, _seed: KNeighborsClassifier(
            min(NUM_NEIGHBOURS, count), metric="cosine", algorithm="brute"
        ),
        "trees": lambda _count, weight, seed: HistGradientBoostingClassifier(
            class_weight=weight, random_state=seed
        ),
        "majority": lambda _count, _weight, _seed: DummyClassifier(strategy="prior"),
    }
)


def fit_classifier(
    name: str,
    values: Values,
    label: NDArray[np.integer],
    *,
    class_weight: str | None = "balanced",
    seed: int = 0,
) -> Any:
    """Fit a classifier to `values` [N, D] and `label` [N].

    Parameters
    ----------
    name : str
        A name of `CLASSIFIERS`: ``linear`` (logistic regression on standardised features), ``knn``
        (the nearest by cosine similarity), ``trees`` (gradient boosting) or ``majority``. If all
        labels are the same, it is ``majority`` in any case.
    class_weight : str or None
        ``balanced`` gives all classes the same weight, None all particles; ``knn`` ignores it.
    seed : int
        Seed of ``trees``; without effect up to `MOST_WITHOUT_HOLDOUT` particles.

    Returns
    -------
    object
        With ``predict`` ([n, D] -> labels [n]) and ``predict_proba`` ([n, D] -> [n, C], in the
        ascending order of the labels).
    """
    if (label == label[0]).all():
        name = "majority"
    classifier = CLASSIFIERS[name](len(label), class_weight, seed)
    # One thread: the products in an iteration of the linear probe are so small that several threads
    # wait for each other most of the time.
    with threadpool_limits(1, user_api="blas"), warnings.catch_warnings():
        # The features of an untrained encoder may be nearly degenerate.
        warnings.simplefilter("ignore", ConvergenceWarning)
        classifier.fit(values, label)
    return classifier


def project_to_plane(values: Values, *, seed: int) -> NDArray[np.float32]:
    """Project features to two dimensions by t-SNE.

    Parameters
    ----------
    values : float array [N, D]
        Features; each is standardised first.
    seed : int
        Seed of the projection.

    Returns
    -------
    float32 array [N, 2]
        All zero if all features are the same, as those of a single particle are: t-SNE has no
        distances to keep then.
    """
    if (values == values[0]).all():
        return np.zeros((len(values), 2), np.float32)
    scaled = StandardScaler().fit_transform(values)
    components = min(_COMPONENTS, *scaled.shape)
    reduced = PCA(components, random_state=seed).fit_transform(scaled)
    perplexity = min(_PERPLEXITY, (len(values) - 1) / 3)
    plane = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
    return np.asarray(plane, np.float32)


def find_neighbours(
    values: Values, *, queries: Values, count: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Find the vectors of `values` [N, D] most similar to each of `queries` [n, D].

    Returns
    -------
    rows : int64 array [n, count]
        Positions in `values`, the most similar first; all N if `count` is larger.
    similarity : float32 array [n, count]
        Cosine of the angle to the query.
    """
    index = NearestNeighbors(n_neighbors=min(count, len(values)), metric="cosine").fit(values)
    distance, rows = index.kneighbors(queries)
    return rows, (1 - distance).astype(np.float32)
