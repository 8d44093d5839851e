"""A scene as a picture for a paper."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.pictures import (
    colour_map,
    draw_colour_bar,
    log_norm,
    new_figure,
    save_figure,
)
from pilarnet_convert.storage.remote import as_path
from pilarnet_view.colours import PARTICLE_COLOURS, SCALES, SPECIES_COLOURS, SYMBOLS
from pilarnet_view.scene import Panel, ParticleCloud, Scene, energy_range

__all__ = ["write_picture"]

_DOTS_PER_INCH: Final = 200
#: Particles that a legend names; more would crowd the picture.
_MOST_NAMES: Final = 12


def write_picture(
    scene: Scene, path: str | Path, *, colouring: str | None = None, axes: str | None = None
) -> None:
    """Draw all panels of a scene side by side; `colouring` and `axes` are as for `page`.

    The path ends in ``.png``, ``.pdf`` or ``.svg``; the voxels are pixels in each.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    PilarnetError
        If the path ends otherwise, or the scene has no cm.
    """
    colouring, unit = scene.choose(colouring=colouring, axes=axes)
    cell = np.array(scene.voxel_cm) if unit == "cm" else None
    columns = min(scene.columns, len(scene.panels))
    rows = math.ceil(len(scene.panels) / columns)
    small = columns > 1
    # Inches, from the top: the texts, the panels, the legend.
    head = 1.0 if scene.panels[0].title else 0.6
    width, height = (3.6 * columns, 3.5 * rows) if small else (7.2, 5.6)
    foot = 0.85
    total = head + height + foot
    figure = new_figure(width, total, layout=None, dpi=_DOTS_PER_INCH)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.01 if small else 0.04,
        right=0.94 if small else 0.96,
        bottom=foot / total,
        top=1 - head / total,
        wspace=0.12,
        hspace=0.22,
    )
    limits = energy_range(scene.clouds)
    for number, panel in enumerate(scene.panels):
        panel_axes = figure.add_subplot(grid[number], projection="3d")
        _draw_voxels(panel_axes, panel, cell, colouring=colouring, limits=limits, small=small)
        _draw_axes(panel_axes, panel, cell, small=small)
    figure.suptitle(scene.title, y=1 - 0.12 / total, va="top", fontsize=12)
    texts = [scene.subtitle, *(note for note in scene.notes if "voxels are shown" in note)]
    style: dict[str, Any] = {"ha": "center", "va": "top", "fontsize": 9, "color": "0.35"}
    figure.text(0.5, 1 - 0.4 / total, "; ".join(texts), **style)
    if colouring == "energy":
        box = (0.3, 0.5 / total, 0.4, 0.1 / total)
        label = "energy of a voxel [MeV]"
        draw_colour_bar(figure, box, limits=limits, colours=SCALES["light"], label=label)
    else:
        _draw_legend(figure, scene.clouds, colouring=colouring)
    save_figure(figure, as_path(path), option="--png")


def _in_unit(
    panel: Panel, voxel: NDArray[Any], cell: NDArray[np.float64] | None
) -> NDArray[np.float64]:
    """Turn voxel indices [n, 3] into cm, unless `cell`, the edges of a voxel in cm, is None."""
    if cell is None:
        return np.asarray(voxel, np.float64)
    return panel.origin_cm + (voxel + 0.5) * cell


def _draw_voxels(
    axes: Any,
    panel: Panel,
    cell: NDArray[np.float64] | None,
    *,
    colouring: str,
    limits: tuple[float, float],
    small: bool,
) -> None:
    # The edge of a voxel in points, for a longest axis of so many inches.
    edge = 0.9 * 72 * (2.2 if small else 4.4) / float((panel.high - panel.low).max())
    dot = max(1.5 if small else 1.8, min(6.0, edge))
    # A collection for each symbol: only within a collection are points sorted by depth.
    for symbol, (_, marker) in enumerate(SYMBOLS):
        clouds = [c for c in panel.clouds if _symbol(c, colouring) == symbol]
        if clouds:
            axes.scatter(
                *_in_unit(panel, np.concatenate([c.xyz for c in clouds]), cell).T,
                c=_voxel_colours(clouds, colouring=colouring, limits=limits),
                marker=marker,
                s=dot**2,
                linewidths=0,
                depthshade=False,
                rasterized=True,
            )


def _draw_axes(axes: Any, panel: Panel, cell: NDArray[np.float64] | None, *, small: bool) -> None:
    low, high = (_in_unit(panel, corner, cell) for corner in (panel.low, panel.high))
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    edges = panel.high - panel.low
    axes.set_box_aspect(edges, zoom=0.88 if small else 0.95)
    unit = "voxel" if cell is None else "cm"
    fontsize = 8 if small else 9
    for name, edge in zip("xyz", edges, strict=True):
        axis = getattr(axes, f"{name}axis")
        axis.set_label_text(f"{name} [{unit}]", fontsize=fontsize + 1)
        axis.labelpad = -4 if small else 0
        axis.set_tick_params(labelsize=fontsize, pad=-2 if small else 0)
        num_ticks = max(2, round((5 if small else 7) * float(edge / edges.max())))
        axis.get_major_locator().set_params(
            nbins=num_ticks, steps=[1, 2, 5, 10], integer=True, prune="both"
        )
        axis.pane.set(facecolor="white", edgecolor="0.8")
        axis._axinfo["grid"].update(color="0.88", linewidth=0.5)
    if panel.title:
        axes.set_title(panel.title, fontsize=10, pad=14, weight="bold")
        style = {"ha": "center", "va": "bottom", "fontsize": 8, "color": "0.35"}
        axes.text2D(0.5, 1.0, panel.caption, transform=axes.transAxes, **style)


def _symbol(cloud: ParticleCloud, colouring: str) -> int:
    """Choose a symbol: the next one for each round through the colours of particles."""
    if colouring != "particle":
        return 0
    return cloud.number // len(PARTICLE_COLOURS["light"]) % len(SYMBOLS)


def _colour(cloud: ParticleCloud, colouring: str) -> str:
    if colouring == "class":
        return SPECIES_COLOURS[cloud.species]
    palette = PARTICLE_COLOURS["light"]
    return palette[cloud.number % len(palette)]


def _voxel_colours(
    clouds: list[ParticleCloud], *, colouring: str, limits: tuple[float, float]
) -> Any:
    if colouring == "energy":
        energy = np.concatenate([c.energy_mev for c in clouds])
        return colour_map(SCALES["light"])(log_norm(*limits)(energy))
    counts = [len(cloud.energy_mev) for cloud in clouds]
    return np.repeat([_colour(cloud, colouring) for cloud in clouds], counts)


def _draw_legend(figure: Any, clouds: list[ParticleCloud], *, colouring: str) -> None:
    first: dict[Any, ParticleCloud] = {}
    for cloud in sorted(clouds, key=lambda c: c.number):
        first.setdefault(cloud.species if colouring == "class" else cloud.number, cloud)
    if colouring == "class":
        first = {name: first[name] for name in SPECIES_COLOURS if name in first}
    axes = figure.axes[0]
    handles = [
        axes.plot(
            *([], [], []),
            linestyle="none",
            marker=SYMBOLS[_symbol(cloud, colouring)][1],
            color=_colour(cloud, colouring),
            label=cloud.species if colouring == "class" else f"{cloud.name}: {cloud.species}",
        )[0]
        for cloud in list(first.values())[:_MOST_NAMES]
    ]
    if len(first) > _MOST_NAMES:
        more = f"and {len(first) - _MOST_NAMES} more"
        handles += axes.plot([], [], [], linestyle="none", label=more)
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(SPECIES_COLOURS) if colouring == "class" else 4,
        frameon=False,
        fontsize=9 if colouring == "class" else 7.5,
        handletextpad=0.2,
    )
