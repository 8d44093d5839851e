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
    legend_mark,
    log_norm,
    new_figure,
    save_figure,
)
from pilarnet_view.colours import PARTICLE_COLOURS, SCALES, SPECIES_COLOURS, SYMBOLS
from pilarnet_view.scene import Cloud, Panel, Scene, energy_range

__all__ = ["write_picture"]

_DOTS_PER_INCH: Final = 200
#: Particles that a legend names; more would crowd the picture.
_LEGEND: Final = 12


def write_picture(
    scene: Scene, path: str | Path, *, colouring: str | None = None, axes: str | None = None
) -> None:
    """Draw all panels of a scene side by side.

    Parameters
    ----------
    scene : Scene
        What to show.
    path : str or Path
        Ends in ``.png``, ``.pdf`` or ``.svg``; the voxels are pixels in each.
    colouring, axes : str, optional
        As for `pilarnet_view.page.page`.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    PilarnetError
        If the path ends otherwise, or the scene has no cm.
    """
    path = Path(path)
    colouring = colouring or scene.colouring
    unit = axes or ("cm" if scene.voxel_cm else "voxels")
    cell = np.array(scene.require_cm()) if unit == "cm" else None
    columns = min(scene.columns, len(scene.panels))
    rows = math.ceil(len(scene.panels) / columns)
    width, height = (7.2, 5.6) if columns == 1 else (3.6 * columns, 3.5 * rows)
    head = 1.0 if scene.panels[0].title else 0.6  # inches
    foot = 0.85
    total = head + height + foot
    figure = new_figure(width, total, layout=None, dpi=_DOTS_PER_INCH)
    grid = figure.add_gridspec(
        rows,
        columns,
        left=0.01 if columns > 1 else 0.04,
        right=0.94 if columns > 1 else 0.96,
        bottom=foot / total,
        top=1 - head / total,
        wspace=0.12,
        hspace=0.22,
    )
    limits = energy_range(scene.clouds)
    for number, panel in enumerate(scene.panels):
        _panel(
            figure.add_subplot(grid[number], projection="3d"),
            panel,
            cell=cell,
            colouring=colouring,
            limits=limits,
            small=columns > 1,
        )
    figure.suptitle(scene.title, y=1 - 0.12 / total, va="top", fontsize=12)
    about = [scene.subtitle, *(note for note in scene.notes if "voxels are shown" in note)]
    figure.text(
        *(0.5, 1 - 0.4 / total, "; ".join(about)),
        ha="center",
        va="top",
        fontsize=9,
        color="0.35",
    )
    if colouring == "energy":
        bar = draw_colour_bar(
            figure,
            (0.3, 0.5 / total, 0.4, 0.1 / total),
            limits=limits,
            colours=colour_map(SCALES["light"]),
        )
        bar.ax.tick_params(labelsize=8)
        bar.set_label("energy of a voxel [MeV]", fontsize=9, labelpad=3)
    else:
        _legend(figure, scene.clouds, colouring=colouring)
    save_figure(figure, path, option="--png")


def _panel(
    axes: Any,
    panel: Panel,
    *,
    cell: NDArray[np.float64] | None,
    colouring: str,
    limits: tuple[float, float],
    small: bool,
) -> None:
    def place(index: NDArray[Any]) -> NDArray[np.float64]:
        if cell is None:
            return np.asarray(index, np.float64)
        return panel.origin_cm + (index + 0.5) * cell

    # One collection a symbol: only inside a collection are points sorted by their depth.
    for round_, (_, marker) in enumerate(SYMBOLS):
        clouds = [c for c in panel.clouds if _round(c, colouring) == round_]
        if clouds:
            axes.scatter(
                *place(np.concatenate([c.xyz for c in clouds])).T,
                c=_colours(clouds, colouring=colouring, limits=limits),
                marker=marker,
                s=_dot_size(panel, inches=2.2 if small else 4.4, least=1.5 if small else 1.8) ** 2,
                linewidths=0,
                depthshade=False,
                rasterized=True,
            )
    low, high = place(panel.low), place(panel.high)
    axes.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), zlim=(low[2], high[2]))
    edges = panel.high - panel.low
    axes.set_box_aspect(edges, zoom=0.88 if small else 0.95)
    unit = "voxel" if cell is None else "cm"
    size = 8 if small else 9
    for name in "xyz":
        axis = getattr(axes, f"{name}axis")
        axis.set_label_text(f"{name} [{unit}]", fontsize=size + 1)
        axis.labelpad = -4 if small else 0
        axis.set_tick_params(labelsize=size, pad=-2 if small else 0)
        share = float(edges["xyz".index(name)] / edges.max())
        num_ticks = max(2, round((5 if small else 7) * share))
        axis.get_major_locator().set_params(
            nbins=num_ticks, steps=[1, 2, 5, 10], integer=True, prune="both"
        )
        axis.pane.set(facecolor="white", edgecolor="0.8")
        axis._axinfo["grid"].update(color="0.88", linewidth=0.5)
    if panel.title:
        axes.set_title(panel.title, fontsize=10, pad=14, weight="bold")
        axes.text2D(
            *(0.5, 1.0, panel.caption),
            transform=axes.transAxes,
            ha="center",
            va="bottom",
            fontsize=8,
            color="0.35",
        )


def _dot_size(panel: Panel, *, inches: float, least: float) -> float:
    """Give the edge of a voxel in points, where the longest axis is so long."""
    return max(least, min(6.0, 0.9 * 72 * inches / float((panel.high - panel.low).max())))


def _round(cloud: Cloud, colouring: str) -> int:
    """Tell how often the colours were used up before this particle: its symbol."""
    if colouring != "particle":
        return 0
    return cloud.number // len(PARTICLE_COLOURS["light"]) % len(SYMBOLS)


def _colour(cloud: Cloud, colouring: str) -> str:
    if colouring == "class":
        return SPECIES_COLOURS[cloud.species]
    palette = PARTICLE_COLOURS["light"]
    return palette[cloud.number % len(palette)]


def _colours(clouds: list[Cloud], *, colouring: str, limits: tuple[float, float]) -> Any:
    if colouring == "energy":
        energy = np.concatenate([c.energy_mev for c in clouds])
        return colour_map(SCALES["light"])(log_norm(*limits)(energy))
    return [
        colour for cloud in clouds for colour in [_colour(cloud, colouring)] * len(cloud.energy_mev)
    ]


def _legend(figure: Any, clouds: list[Cloud], *, colouring: str) -> None:
    first: dict[Any, Cloud] = {}
    for cloud in sorted(clouds, key=lambda c: c.number):
        first.setdefault(cloud.species if colouring == "class" else cloud.number, cloud)
    if colouring == "class":
        first = {name: first[name] for name in SPECIES_COLOURS if name in first}
    handles = [
        legend_mark(
            cloud.species if colouring == "class" else f"{cloud.name}: {cloud.species}",
            marker=SYMBOLS[_round(cloud, colouring)][1],
            color=_colour(cloud, colouring),
        )
        for cloud in list(first.values())[:_LEGEND]
    ]
    if len(first) > _LEGEND:
        handles.append(legend_mark(f"and {len(first) - _LEGEND} more"))
    figure.legend(
        handles=handles,
        loc="lower center",
        ncols=len(SPECIES_COLOURS) if colouring == "class" else 4,
        frameon=False,
        fontsize=9 if colouring == "class" else 7.5,
        handletextpad=0.2,
    )
