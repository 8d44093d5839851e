"""The embedding as a map, and the company that a few particles keep in it."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import StandardScaler

from clr_eval.evaluation import Subject
from clr_train.keys import key, permutation
from pilarnet_convert.species import CLASSES

__all__ = ["neighbours", "project_map"]

_PARTICLES: Final = 3000
#: Directions that t-SNE starts from; more are mostly noise, and cost time.
_DIRECTIONS: Final = 50
_PERPLEXITY: Final = 30.0
_NEIGHBOURS: Final = 5
#: A particle shown for its neighbours has at least so many voxels, where its class has any.
_VOXELS: Final = 30
_DRAW: Final = 0xA71A5


def project_map(subject: Subject) -> dict[str, NDArray[Any]]:
    """Lay the test split out in two dimensions by t-SNE.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    dict
        ``rows``, int64 [n]: positions in the test split, at most 3000, drawn by the first seed;
        ``place``, float32 [n, 2].
    """
    seed = subject.config.seeds[0]

    def make() -> dict[str, NDArray[Any]]:
        values = subject.features("trained", subject.test).values
        subject.say("t-SNE of the test split")
        rows = np.sort(permutation(len(values), key(seed, _DRAW))[:_PARTICLES])
        scaled = StandardScaler().fit_transform(values[rows])
        directions = min(_DIRECTIONS, *scaled.shape)
        reduced = PCA(directions, random_state=seed).fit_transform(scaled)
        perplexity = min(_PERPLEXITY, (len(rows) - 1) / 3)
        place = TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(reduced)
        return {"rows": rows, "place": place.astype(np.float32)}

    return subject.cache.get("map", depends_on={"seed": seed}, make=make)


def neighbours(subject: Subject) -> dict[str, NDArray[Any]]:
    """Find the particles of the training split that lie nearest to a few of the test split.

    Parameters
    ----------
    subject : Subject

    Returns
    -------
    dict
        ``query``, int64 [q]: positions in the test split, one of each class, drawn by the first
        seed; ``found``, int64 [q, 5]: positions in the training split, nearest first;
        ``similarity``, float32 [q, 5]: cosine of the angle between the features.
    """
    seed = subject.config.seeds[0]

    def make() -> dict[str, NDArray[Any]]:
        train = subject.features("trained", subject.train)
        test = subject.features("trained", subject.test)
        subject.say("nearest neighbours")
        query = np.array(
            [_pick(subject, c.label, seed) for c in CLASSES if np.any(test.label == c.label)]
        )
        count = min(_NEIGHBOURS, len(train.label))
        index = NearestNeighbors(n_neighbors=count, metric="cosine").fit(train.values)
        distance, found = index.kneighbors(test.values[query])
        return {"query": query, "found": found, "similarity": (1 - distance).astype(np.float32)}

    return subject.cache.get("neighbours", depends_on={"seed": seed}, make=make)


def _pick(subject: Subject, label: int, seed: int) -> int:
    """Draw a particle of a class, large enough to be recognised if there is one."""
    rows = np.flatnonzero(subject.test.label == label)
    large = rows[subject.test.columns["num_voxels"][rows] >= _VOXELS]
    rows = large if len(large) else rows
    return int(rows[permutation(len(rows), key(seed, _DRAW, label))[0]])
