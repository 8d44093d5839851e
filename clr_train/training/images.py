"""Pictures of what an encoder has learned so far, for ``--images-every``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.probe.classifiers import find_neighbours, fit_classifier, project_to_plane
from clr_train.probe.features import Features
from clr_train.probe.figures import (
    FEWEST_VOXELS,
    dot_size,
    draw_classes,
    draw_confusion,
    draw_neighbours,
    frame_map,
)
from pilarnet_convert.errors import counted
from pilarnet_convert.pictures import as_pixels, new_figure
from pilarnet_convert.species import CLASSES

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Figure

__all__ = ["draw_images"]

#: Most particles of the map: t-SNE of so many takes some seconds.
_MAPPED: Final = 1000
_NEIGHBOURS: Final = 4
_DPI: Final = 80


def draw_images(
    train: Features, val: Features, *, particles: tuple[ParticleBatch, ParticleBatch], seed: int
) -> dict[str, NDArray[np.uint8]]:
    """Draw a map, nearest neighbours and the confusion matrix of the linear probe.

    Parameters
    ----------
    train, val : Features
        Neighbours are taken from `train`, and the probe is fitted to it; `val` is shown.
    particles : tuple of two ParticleBatch
        The particles of `train` and of `val`, on the CPU, in the same order.
    seed : int
        Seed of the map.

    Returns
    -------
    dict of str to uint8 array [height, width, 3]
        Pixels, by the name of the picture.
    """
    figures = {
        "map of the features": _map(val, seed=seed),
        "nearest neighbours": _neighbours(train, val, particles),
        "confusion of the linear probe": _confusion(train, val),
    }
    return {name: as_pixels(figure) for name, figure in figures.items()}


def _map(val: Features, *, seed: int) -> Figure:
    values, label = val.values[:_MAPPED], val.label[:_MAPPED]
    figure = new_figure(8, 6, dpi=_DPI)
    axes = figure.subplots()
    place = project_to_plane(values, seed=seed)
    draw_classes(axes, place, label=label, size=dot_size(len(label)))
    frame_map(axes, place)
    axes.set_title(f"features of {counted(len(label), 'particle')} of the validation split")
    return figure


def _neighbours(
    train: Features, val: Features, particles: tuple[ParticleBatch, ParticleBatch]
) -> Figure:
    """Draw the first particle of each class that is not small, with its nearest in `train`."""
    large = particles[1].offset.diff().numpy() >= FEWEST_VOXELS
    rows = [np.flatnonzero(val.label == species.label) for species in CLASSES]
    query = np.array([row[np.argmax(large[row])] for row in rows if len(row)])
    found, similarity = find_neighbours(train.values, queries=val.values[query], count=_NEIGHBOURS)
    return draw_neighbours(
        particles[1].take(torch.from_numpy(query)),
        found=particles[0].take(torch.from_numpy(found.ravel())),
        similarity=similarity,
        dpi=_DPI,
    )


def _confusion(train: Features, val: Features) -> Figure:
    guess = fit_classifier("linear", train.values, train.label).predict(val.values)
    counts = np.zeros((len(CLASSES), len(CLASSES)))
    np.add.at(counts, (val.label, guess), 1)
    figure = new_figure(5, 4.6, dpi=_DPI)
    axes = figure.subplots()
    draw_confusion(axes, counts)
    axes.set_ylabel("true class (each row adds up to 100 %)")
    axes.set_title(
        f"linear probe, {counted(len(val.label), 'particle')} of the validation split", size=10
    )
    return figure
