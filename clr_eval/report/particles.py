"""Pictures of particles: the map of the embedding, and neighbours side by side."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.embedding.split import Particles
from pilarnet_convert.pictures import log_norm, new_figure, save_figure
from pilarnet_convert.species import CLASSES, COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes

__all__ = ["draw_map", "draw_neighbours"]

#: Range of voxel energies that is told apart, MeV: from noise to the end of a proton's track.
_ENERGIES_MEV: Final = (0.05, 20.0)
_MARGIN: Final = 2.0


def draw_map(
    place: NDArray[np.float32], *, rows: NDArray[np.int64], of: Particles, path: Path
) -> None:
    """Draw the map of an embedding, coloured by class and by deposited energy.

    Parameters
    ----------
    place : float32 array [n, 2]
    rows : int64 array [n]
        Positions of the particles in `of`.
    of : Particles
    path : Path
        The picture.
    """
    figure = new_figure(13, 6)
    by_class, by_energy = figure.subplots(1, 2)
    label = of.label[rows]
    # Shuffled, so that no class lies on top of all others.
    order = np.random.default_rng(0).permutation(len(rows))
    palette = np.array([COLOURS[species.name] for species in CLASSES])
    size = float(np.clip(20_000 / len(rows), 5, 30))
    by_class.scatter(*place[order].T, c=palette[label[order]], s=size, linewidths=0)
    for species in CLASSES:
        count = np.count_nonzero(label == species.label)
        by_class.scatter([], [], c=COLOURS[species.name], s=40, label=f"{species.name} ({count:,})")
    by_class.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    energy = of.columns["energy_deposit"][rows]
    positive = energy[np.isfinite(energy) & (energy > 0)]
    low, high = np.quantile(positive, [0.01, 0.99]) if len(positive) else (1.0, 10.0)
    shown = by_energy.scatter(
        *place[order].T,
        c=energy[order],
        s=size,
        linewidths=0,
        cmap="cividis",
        norm=log_norm(low, high),
    )
    figure.colorbar(shown, ax=by_energy, label="deposited energy [MeV]")
    by_class.set_title("by class")
    by_energy.set_title("by deposited energy")
    for axes in (by_class, by_energy):
        axes.set_aspect("equal")
        axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
    figure.suptitle(f"features of {len(rows):,} particles of the test split")
    save_figure(figure, path, option="--out")


def draw_neighbours(
    company: dict[str, NDArray[Any]], *, test: Particles, train: Particles, path: Path
) -> None:
    """Draw particles of the test split, a row each, beside their neighbours in the training split.

    Parameters
    ----------
    company : dict
        Of `clr_eval.embedding_map.neighbours`.
    test, train : Particles
    path : Path
        The picture.
    """
    query, found, similarity = company["query"], company["found"], company["similarity"]
    columns = 1 + found.shape[1]
    figure = new_figure(2.3 * columns, 2.5 * len(query) + 0.6)
    panels = figure.subplots(len(query), columns, squeeze=False)
    for row, panel in enumerate(panels):
        shown = [_flat(test, int(query[row])), *(_flat(train, int(i)) for i in found[row])]
        reach = max(np.abs(flat).max() for flat, _ in shown) + _MARGIN
        classes = [test.label[query[row]], *train.label[found[row]]]
        for column, (axes, (flat, energy)) in enumerate(zip(panel, shown, strict=True)):
            name = CLASSES[classes[column]].name
            _draw_particle(axes, flat, energy, reach)
            note = "test" if column == 0 else f"{similarity[row, column - 1]:.3f}"
            axes.set_title(f"{name}  {note}", fontsize=10, color=COLOURS[name], weight="bold")
            for spine in axes.spines.values():
                spine.set(linewidth=2.5 if column == 0 else 0.8)
        panel[0].set_ylabel(f"{2 * reach:.0f} voxels across", fontsize=9)
    last = panels[0, 0].collections[0]
    figure.colorbar(last, ax=panels, label="energy of a voxel [MeV]", shrink=0.6)
    figure.suptitle("particles and their nearest neighbours (number: cosine of their features)")
    save_figure(figure, path, option="--out")


def _flat(particles: Particles, row: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Give the voxels of a particle on the plane in which it is widest, and their energies."""
    batch = particles.pick(np.array([row]))
    xyz = batch.xyz.numpy().astype(np.float64)
    xyz -= xyz.mean(axis=0)
    _, axes = np.linalg.eigh(xyz.T @ xyz)
    flat = xyz @ axes[:, [2, 1]]
    return flat - (flat.max(axis=0) + flat.min(axis=0)) / 2, batch.energy.numpy()


def _draw_particle(
    axes: Axes, flat: NDArray[np.float64], energy: NDArray[np.float32], reach: float
) -> None:
    order = np.argsort(energy)  # the brightest on top
    x, y = flat[order].T
    axes.scatter(
        x, y, c=energy[order], cmap="cividis_r", norm=log_norm(*_ENERGIES_MEV), s=6, linewidths=0
    )
    axes.set(xlim=(-reach, reach), ylim=(-reach, reach), xticks=[], yticks=[])
    axes.set_aspect("equal")
