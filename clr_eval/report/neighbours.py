"""A picture of particles beside their nearest neighbours."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.embedding.split import LoadedSplit
from pilarnet_convert.pictures import log_norm, new_figure, save_figure
from pilarnet_convert.species import CLASSES, COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes

__all__ = ["draw_neighbours"]

#: Range of the colours of voxels, MeV: from noise to the end of a proton's track.
_ENERGIES_MEV: Final = (0.05, 20.0)
_MARGIN: Final = 2.0


def draw_neighbours(
    neighbours: Mapping[str, NDArray[Any]], *, test: LoadedSplit, train: LoadedSplit, path: Path
) -> None:
    """Draw particles of the test split, each in a row with its neighbours in the training split.

    `neighbours` is from `clr_eval.embedding_map.nearest_neighbours`.
    """
    query, found, similarity = (neighbours[name] for name in ("query", "found", "similarity"))
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


def _flat(particles: LoadedSplit, row: int) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Project the voxels of a particle to the plane of its two largest principal axes.

    Returns
    -------
    flat : float64 array [V, 2]
        Voxels, centred.
    energy : float32 array [V]
        MeV.
    """
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
