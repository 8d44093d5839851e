"""A scene as a picture for a paper."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from pilarnet_convert.pictures import draw_colour_bar, new_figure, save_figure
from pilarnet_convert.storage.remote import as_path
from pilarnet_view.camera import CAMERAS, Camera
from pilarnet_view.colours import SCALES, SPECIES_COLOURS, SYMBOLS
from pilarnet_view.drawing import Look, colour_of, draw_panel, height_of, symbol_of
from pilarnet_view.scene import Panel, ParticleCloud, Scene

__all__ = ["write_picture"]

_DOTS_PER_INCH: Final = 200
#: Particles that a legend names; more would crowd the picture.
_MOST_NAMES: Final = 12
#: Inches. The width of a panel, and its least and largest height, of one panel and of several
#: (small) ones; the gap between rows, for titles; the foot, for the legend or the colour bar.
_WIDTH: Final = {False: 7.2, True: 3.6}
_HEIGHTS: Final = {False: (3.5, 5.6), True: (1.8, 3.2)}
_GAP: Final = 0.65
_FEET: Final = {"class": 0.5, "particle": 0.85, "energy": 0.75}


def write_picture(
    scene: Scene,
    path: str | Path,
    *,
    colouring: str | None = None,
    axes: str | None = None,
    camera: Camera = CAMERAS["3d"],
    cube: bool = False,
) -> None:
    """Draw the panels of a scene side by side.

    Of several events, which a page shows one after the other, only the first is drawn.

    Parameters
    ----------
    scene : Scene
        What to draw.
    path : path
        The file to write, ``.png``, ``.pdf`` or ``.svg``; the voxels are drawn as pixels in each.
    colouring : {"class", "particle", "energy"}, optional
        How voxels are coloured; by default that of the scene.
    axes : {"cm", "voxels"}, optional
        The unit of the axes; by default cm, where the scene has it.
    camera : Camera
        Where the viewer is.
    cube : bool
        Whether the whole cube is shown, and not just the part with voxels.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    PilarnetError
        If the path has another ending, there is no such colouring, or the scene has no cm.
    """
    colouring, unit = scene.choose(colouring=colouring, axes=axes)
    voxel_cm = np.array(scene.voxel_cm) if unit == "cm" else None
    panels = scene.panels if scene.columns > 1 else scene.panels[:1]
    panels = tuple(panel.with_cube() for panel in panels) if cube else panels
    clouds = [cloud for panel in panels for cloud in panel.clouds]
    columns = min(scene.columns, len(panels))
    small = columns > 1
    limits = scene.energy_range_mev
    look = Look(
        voxel_cm=voxel_cm, colouring=colouring, limits_mev=limits, camera=camera, small=small
    )
    # Inches, from the top: the texts, the rows of panels, the legend.
    head = 1.0 if panels[0].title else 0.6
    rows = _row_heights(panels, look, columns=columns)
    height = sum(rows) + _GAP * (len(rows) - 1)
    foot = _FEET[colouring]
    width, total = _WIDTH[small] * columns, head + height + foot
    figure = new_figure(width, total, layout=None, dpi=_DOTS_PER_INCH)
    grid = figure.add_gridspec(
        len(rows),
        columns,
        height_ratios=rows,
        left=0.01 if small else 0.04,
        right=0.98 if small else 0.96,
        bottom=foot / total,
        top=1 - head / total,
        wspace=0.08,
        hspace=_GAP * len(rows) / sum(rows),
    )
    for number, panel in enumerate(panels):
        draw_panel(figure.add_subplot(grid[number]), panel, look)
    figure.suptitle(scene.title, y=1 - 0.12 / total, va="top", fontsize=12)
    first = "" if len(panels) == len(scene.panels) else "the first of "
    notes = [note for note in scene.notes if "voxels are shown" in note]
    texts = [first + scene.subtitle, *notes]
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9, "color": "0.35"}
    figure.text(0.5, 1 - 0.4 / total, "; ".join(texts), **style)
    if colouring == "energy":
        box = (0.3, 0.48 / total, 0.4, 0.1 / total)
        label = "energy of a voxel [MeV]"
        draw_colour_bar(figure, box, limits=limits, colours=SCALES["light"], label=label)
    else:
        _draw_legend(figure, clouds, colouring=colouring)
    save_figure(figure, as_path(path), option="--png")


def _row_heights(panels: Sequence[Panel], look: Look, *, columns: int) -> list[float]:
    """Return the heights of rows of panels, in inches: no more than the tallest of a row needs."""
    width, (least, most) = 72 * 0.92 * _WIDTH[look.small], _HEIGHTS[look.small]
    heights = [height_of(panel, look, width=width) / 72 for panel in panels]
    return [
        min(most, max(least, *heights[first : first + columns]))
        for first in range(0, len(panels), columns)
    ]


def _draw_legend(figure: Any, clouds: list[ParticleCloud], *, colouring: str) -> None:
    first: dict[Any, ParticleCloud] = {}
    for cloud in sorted(clouds, key=lambda c: c.number):
        first.setdefault(cloud.species if colouring == "class" else cloud.number, cloud)
    if colouring == "class":
        first = {name: first[name] for name in SPECIES_COLOURS if name in first}
    axes = figure.axes[0]
    handles = [
        axes.plot(
            *([], []),
            linestyle="none",
            marker=SYMBOLS[symbol_of(cloud, colouring)][1],
            color=colour_of(cloud, colouring),
            label=cloud.species if colouring == "class" else f"{cloud.name}: {cloud.species}",
        )[0]
        for cloud in list(first.values())[:_MOST_NAMES]
    ]
    if len(first) > _MOST_NAMES:
        more = f"and {len(first) - _MOST_NAMES} more"
        handles += axes.plot([], [], linestyle="none", label=more)
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(SPECIES_COLOURS) if colouring == "class" else 4,
        frameon=False,
        fontsize=9 if colouring == "class" else 7.5,
        handletextpad=0.2,
    )
