"""Drawings of what an encoder has learned, in colours that colour-blind readers can tell apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from pilarnet_convert.pictures import ENERGY_COLOURS, colour_map, log_norm, new_figure
from pilarnet_convert.species import CLASS_NAMES, CLASSES, COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes, Figure

__all__ = [
    "FEWEST_VOXELS",
    "dot_size",
    "draw_classes",
    "draw_confusion",
    "draw_neighbours",
    "frame_map",
    "shift_factor",
]

#: Fewest voxels of a particle shown with its neighbours, unless its class has only smaller ones.
FEWEST_VOXELS: Final = 30
#: Range of the colours of voxels, MeV: from noise to the end of a proton's track.
_ENERGIES_MEV: Final = (0.05, 20.0)
_MARGIN: Final = 2.0


def draw_classes(
    axes: Axes, place: NDArray[np.floating], *, label: NDArray[np.integer], size: float
) -> None:
    """Draw positions as dots, coloured by class, with a legend to the right.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
        What to draw on.
    place : float array [N, 2]
        Positions, such as `clr_train.project_to_plane` gives.
    label : integer array [N]
        Classes, as `pilarnet_convert.species.CLASSES` numbers them.
    size : float
        Size of a dot, in square points.
    """
    # Shuffled, so that no class covers all others.
    order = np.random.default_rng(0).permutation(len(label))
    palette = np.array([COLOURS[name] for name in CLASS_NAMES])
    x, y = place[order].T
    axes.scatter(x, y, c=palette[label[order]], s=size, linewidths=0)
    for species in CLASSES:
        count = np.count_nonzero(label == species.label)
        axes.scatter([], [], c=COLOURS[species.name], s=40, label=f"{species.name} ({count:,})")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))


def shift_factor(number: int, count: int) -> float:
    """Return the factor on x of curve `number` that keeps `count` curves from hiding each other."""
    return float(1.04 ** (number - (count - 1) / 2))


def dot_size(count: int) -> float:
    """Return the size of the dots of a map, in square points: larger where they are few."""
    return float(np.clip(20_000 / count, 5, 30))


def frame_map(axes: Axes, place: NDArray[np.floating]) -> None:
    """Set a square frame without ticks about positions [N, 2]."""
    low, high = place.min(axis=0), place.max(axis=0)
    reach = 0.53 * float((high - low).max()) or 1.0
    x, y = (low + high) / 2
    axes.set_aspect("equal")
    axes.set(xlim=(x - reach, x + reach), ylim=(y - reach, y + reach))
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")


def draw_confusion(axes: Axes, counts: NDArray[np.floating]) -> None:
    """Draw a confusion matrix [class, class], a row for each true class, in per cent of the row."""
    share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    axes.imshow(share, cmap="Greys", vmin=0, vmax=100)
    for (row, column), value in np.ndenumerate(share):
        colour = "white" if value > 55 else "black"
        axes.text(column, row, f"{value:.0f}", ha="center", va="center", fontsize=11, color=colour)
    axes.set_xticks(range(len(CLASS_NAMES)), CLASS_NAMES, rotation=35, ha="right")
    axes.set_yticks(range(len(CLASS_NAMES)), CLASS_NAMES)
    axes.set_xlabel("predicted class")


def draw_neighbours(
    queries: ParticleBatch,
    *,
    found: ParticleBatch,
    similarity: NDArray[np.floating],
    dpi: float | None = None,
) -> Figure:
    """Draw particles, each in a row with its neighbours.

    Parameters
    ----------
    queries : ParticleBatch
        Q particles.
    found : ParticleBatch
        Q x K particles: the neighbours of the first, nearest first, then those of the second, ...
    similarity : float array [Q, K]
        Cosine of the angle between the features.
    dpi : float, optional
        Pixels an inch, by default as in `new_figure`.
    """
    columns = 1 + similarity.shape[1]
    rows = [
        [query, *near.split(1)]
        for query, near in zip(queries.split(1), found.split(columns - 1), strict=True)
    ]
    figure = new_figure(2.3 * columns, 2.5 * len(rows) + 0.6, dpi=dpi)
    panels = figure.subplots(len(rows), columns, squeeze=False)
    for panel, particles, cosines in zip(panels, rows, similarity, strict=True):
        shown = [_flat(particle) for particle in particles]
        reach = max(np.abs(flat).max() for flat, _ in shown) + _MARGIN
        notes = ["query", *(f"{cosine:.3f}" for cosine in cosines)]
        for axes, particle, note, (flat, energy) in zip(
            panel, particles, notes, shown, strict=True
        ):
            name = CLASSES[int(particle.label[0])].name
            _draw_particle(axes, flat, energy, reach)
            axes.set_title(f"{name}  {note}", fontsize=10, color=COLOURS[name], weight="bold")
            for spine in axes.spines.values():
                spine.set(linewidth=2.5 if note == "query" else 0.8)
        panel[0].set_ylabel(f"{2 * reach:.0f} voxels across", fontsize=9)
    last = panels[0, 0].collections[0]
    bar: dict[str, Any] = {"fraction": 0.03, "pad": 0.02, "aspect": 40, "format": "%g"}
    figure.colorbar(last, ax=panels, label="energy of a voxel [MeV]", shrink=0.6, **bar)
    figure.suptitle("particles and their nearest neighbours (number: cosine of their features)")
    return figure


def _flat(particle: ParticleBatch) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Project the voxels of a particle to the plane of its two largest principal axes.

    Returns
    -------
    flat : float64 array [V, 2]
        Voxels, centred.
    energy : float32 array [V]
        MeV.
    """
    xyz = particle.xyz.numpy().astype(np.float64)
    xyz -= xyz.mean(axis=0)
    _, axes = np.linalg.eigh(xyz.T @ xyz)
    flat = xyz @ axes[:, [2, 1]]
    return flat - (flat.max(axis=0) + flat.min(axis=0)) / 2, particle.energy.numpy()


def _draw_particle(
    axes: Axes, flat: NDArray[np.float64], energy: NDArray[np.float32], reach: float
) -> None:
    order = np.argsort(energy)  # the brightest on top
    x, y = flat[order].T
    style: dict[str, Any] = {"cmap": colour_map(ENERGY_COLOURS), "norm": log_norm(*_ENERGIES_MEV)}
    axes.scatter(x, y, c=energy[order], s=6, linewidths=0, **style)
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    axes.set_aspect("equal")
