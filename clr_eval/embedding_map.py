"""A map of the embedding in two dimensions, and the nearest neighbours of a few particles."""

from __future__ import annotations

from typing import Final

import numpy as np

from clr_eval.cache import Arrays
from clr_eval.evaluation import Evaluation
from clr_train.keys import key, permutation
from clr_train.probe.classifiers import find_neighbours, project_to_plane
from clr_train.probe.figures import FEWEST_VOXELS
from pilarnet_convert.species import CLASSES

__all__ = ["embedding_map", "example_neighbours", "num_mapped"]

_MOST_PARTICLES: Final = 3000
_NEIGHBOURS: Final = 5
_DRAW: Final = 0xA71A5


def embedding_map(evaluation: Evaluation) -> Arrays:
    """Map the test split to two dimensions by t-SNE.

    Returns
    -------
    dict
        ``rows``, int64 [n]: positions in the test split, at most 3000, drawn with the first seed;
        ``place``, float32 [n, 2].
    """
    seed = evaluation.config.seeds[0]

    def make() -> Arrays:
        values = evaluation.features("trained", "test").values
        evaluation.say("t-SNE of the test split")
        rows = np.sort(permutation(len(values), key(seed, _DRAW))[:_MOST_PARTICLES])
        return {"rows": rows, "place": project_to_plane(values[rows], seed=seed)}

    cost = evaluation.costs.map(particles=num_mapped(evaluation))
    return evaluation.cache.get("map", depends_on={"seed": seed}, make=make, cost=cost)


def num_mapped(evaluation: Evaluation) -> int:
    """Count the particles of the map."""
    return min(_MOST_PARTICLES, len(evaluation.test))


def example_neighbours(evaluation: Evaluation) -> Arrays:
    """Find the particles of the training split that are nearest to a few of the test split.

    Returns
    -------
    dict
        ``query``, int64 [q]: positions in the test split, one of each class, drawn with the first
        seed; ``found``, int64 [q, 5]: positions in the training split, nearest first;
        ``similarity``, float32 [q, 5]: cosine of the angle between the features.
    """
    seed = evaluation.config.seeds[0]

    def make() -> Arrays:
        train = evaluation.features("trained", "train")
        test = evaluation.features("trained", "test")
        evaluation.say("nearest neighbours")
        query = np.array(
            [_draw(evaluation, c.label, seed) for c in CLASSES if c.label in test.label]
        )
        found, similarity = find_neighbours(
            train.values, queries=test.values[query], count=_NEIGHBOURS
        )
        return {"query": query, "found": found, "similarity": similarity}

    return evaluation.cache.get("neighbours", depends_on={"seed": seed}, make=make)


def _draw(evaluation: Evaluation, label: int, seed: int) -> int:
    """Draw a particle of a class, large enough to be recognised if there is one."""
    rows = np.flatnonzero(evaluation.test.label == label)
    large = rows[evaluation.test.columns["num_voxels"][rows] >= FEWEST_VOXELS]
    rows = large if len(large) else rows
    return int(rows[permutation(len(rows), key(seed, _DRAW, label))[0]])
