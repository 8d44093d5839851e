"""One set of axes of a picture: the voxels, and the box with its ticks and titles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.pictures import colour_map, log_norm
from pilarnet_view.camera import Camera
from pilarnet_view.colours import PARTICLE_COLOURS, SCALES, SPECIES_COLOURS, SYMBOLS
from pilarnet_view.projection import Edge, Projection, nice_ticks
from pilarnet_view.scene import Panel, ParticleCloud

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes

__all__ = ["Look", "colour_of", "draw_panel", "height_of", "symbol_of"]

#: Ticks of an axis: their places in voxels, float64 [n], and their texts.
_Ticks = tuple[NDArray[np.float64], list[str]]
#: Left, bottom, right and top of a text, in points, float64 [4].
_Box = NDArray[np.float64]
#: Width and height of the axes, in points.
_Size = tuple[float, float]

_GREY: Final = {"lines": "0.72", "grid": "0.88", "ticks": "0.3"}


@dataclass(frozen=True, kw_only=True)
class Look:
    """How a panel is drawn.

    Attributes
    ----------
    voxel_cm : float64 array [3], optional
        Edges of a voxel; None for axes in voxels.
    colouring : str
        One of `COLOURINGS`.
    limits_mev : tuple of two float
        Energies at the ends of the colours.
    camera : Camera
        Where the viewer is.
    small : bool
        True if there are several panels.
    """

    voxel_cm: NDArray[np.float64] | None
    colouring: str
    limits_mev: tuple[float, float]
    camera: Camera
    small: bool


def draw_panel(axes: Axes, panel: Panel, look: Look) -> None:
    """Draw a panel on axes, whose data coordinates become points, from the lower left corner."""
    box = axes.get_window_extent()
    width, height = (72 * length / axes.figure.dpi for length in (box.width, box.height))
    axes.set(xlim=(0, width), ylim=(0, height))
    axes.set_axis_off()
    projection = _projection(panel, look, size=(width, height))
    edges = [edge for axis in range(3) if (edge := projection.edge(axis)) is not None]
    ticks = [_ticks(edge, panel, look) for edge in edges]
    _draw_box(axes, projection, edges, ticks)
    _draw_voxels(axes, panel, projection, look)
    taken = _write_titles(axes, edges, ticks, look=look, size=(width, height))
    _write_ticks(axes, projection, edges, ticks, look=look, size=(width, height), taken=taken)
    if panel.title:
        style: dict[str, Any] = {"ha": "center", "va": "bottom"}
        # Letters are half as wide as high, bold ones a little wider: no text is cut at the edge.
        bold = min(10.0, width / (0.6 * len(panel.title)))
        plain = min(8.0, width / (0.52 * max(len(panel.caption), 1)))
        axes.text(width / 2, height + 14, panel.title, fontsize=bold, weight="bold", **style)
        axes.text(width / 2, height + 2, panel.caption, fontsize=plain, color="0.35", **style)


def height_of(panel: Panel, look: Look, *, width: float) -> float:
    """Return the height, in points, of axes of this width that a panel fills."""
    _, _, below, above = _margins(look)
    return below + above + float(_projection(panel, look, size=(width, np.inf)).size[1])


def _margins(look: Look) -> tuple[float, float, float, float]:
    """Return the room for ticks and titles, in points: left, right, below and above."""
    return (56, 12, 30, 8) if look.small else (64, 12, 40, 8)


def _projection(panel: Panel, look: Look, *, size: _Size) -> Projection:
    left, right, below, above = _margins(look)
    frame = (left, size[0] - right, below, size[1] - above)
    return Projection(np.stack([panel.low, panel.high]), look.camera, frame)


def colour_of(cloud: ParticleCloud, colouring: str) -> str:
    """Return the colour of a particle by its class, or by its number."""
    if colouring == "class":
        return SPECIES_COLOURS[cloud.species]
    palette = PARTICLE_COLOURS["light"]
    return palette[cloud.number % len(palette)]


def symbol_of(cloud: ParticleCloud, colouring: str) -> int:
    """Choose a symbol: the next one for each round through the colours of particles."""
    if colouring != "particle":
        return 0
    return cloud.number // len(PARTICLE_COLOURS["light"]) % len(SYMBOLS)


def _draw_voxels(axes: Axes, panel: Panel, projection: Projection, look: Look) -> None:
    dot = float(np.clip(0.9 * projection.scale, 1.5 if look.small else 1.8, 8.0))
    # A collection for each symbol: only within a collection are points sorted by depth.
    for symbol, (_, marker) in enumerate(SYMBOLS):
        clouds = [c for c in panel.clouds if symbol_of(c, look.colouring) == symbol]
        if not clouds:
            continue
        points, depth = projection.project(np.concatenate([c.xyz for c in clouds]))
        order = np.argsort(depth, kind="stable")
        axes.scatter(
            points[order, 0],
            points[order, 1],
            c=_voxel_colours(clouds, look)[order],
            marker=marker,
            s=dot**2,
            linewidths=0,
            rasterized=True,
            zorder=2,
            clip_on=False,
        )


def _voxel_colours(clouds: Sequence[ParticleCloud], look: Look) -> NDArray[Any]:
    if look.colouring == "energy":
        energy = np.concatenate([c.energy_mev for c in clouds])
        return np.asarray(colour_map(SCALES["light"])(log_norm(*look.limits_mev)(energy)))
    counts = [len(cloud.energy_mev) for cloud in clouds]
    return np.repeat([colour_of(cloud, look.colouring) for cloud in clouds], counts)


def _ticks(edge: Edge, panel: Panel, look: Look) -> _Ticks:
    """Return the ticks of an edge."""
    axis = edge.axis
    low, high = panel.low[axis], panel.high[axis]
    origin, cell = 0.0, 1.0
    if look.voxel_cm is not None:  # the centre of voxel 0, and a voxel's edge
        cell = float(look.voxel_cm[axis])
        origin = float(panel.origin_cm[axis]) + cell / 2
    each = (20 if abs(edge.away[0]) > 0.7 else 28) * (1 if look.small else 1.5)
    values, texts = nice_ticks(origin + low * cell, origin + high * cell, most=edge.length / each)
    return (values - origin) / cell, texts


def _draw_box(
    axes: Axes, projection: Projection, edges: Sequence[Edge], ticks: Sequence[_Ticks]
) -> None:
    """Draw the edges of the box that are not in front, and a grid at the ticks of each axis."""
    box, back = projection.box, projection.back
    grid, outline = [], []
    for edge, (voxels, _) in zip(edges, ticks, strict=True):
        axis = edge.axis
        for wall in {0, 1, 2} - {axis}:
            start = box[0].copy()
            start[wall] = box[back[wall], wall]
            along = 3 - axis - wall
            starts = projection.along(start, axis, voxels)
            grid += [projection.along(place, along, box[:, along]) for place in starts]
    for axis, *sides in projection.lines():
        start = box[0].copy()
        for other, side in zip(sorted({0, 1, 2} - {axis}), sides, strict=True):
            start[other] = box[side, other]
        outline.append(projection.along(start, axis, box[:, axis]))
    for lines, grey, width in ((grid, _GREY["grid"], 0.5), (outline, _GREY["lines"], 0.8)):
        if lines:
            points = projection.project(np.concatenate(lines))[0].reshape(-1, 2, 2)
            # A line of matplotlib for each column.
            x, y = np.moveaxis(points, 1, 2).reshape(-1, 2, 2).transpose(1, 2, 0)
            axes.plot(x, y, color=grey, linewidth=width, zorder=1, clip_on=False)


def _write_titles(
    axes: Axes, edges: Sequence[Edge], ticks: Sequence[_Ticks], *, look: Look, size: _Size
) -> list[_Box]:
    """Write the titles of the axes, and return the boxes that they take."""
    taken: list[_Box] = []
    fontsize = _fontsize(look)
    unit = "voxel" if look.voxel_cm is None else "cm"
    for edge, (_, texts) in zip(edges, ticks, strict=True):
        title = f"{'xyz'[edge.axis]} [{unit}]"
        widest = 0.6 * fontsize * max(map(len, texts), default=0)
        gap = 8 + float(np.abs(edge.away) @ np.array([widest, 1.1 * fontsize]))
        for part in (0.5, 0.35, 0.65, 0.2, 0.8, 0.0, 1.0):
            at = edge.ends[0] + part * (edge.ends[1] - edge.ends[0])
            box = _moved_inside(_box(title, at, edge.away, gap, fontsize + 1), size)
            if _is_free(box, taken):
                _text(axes, title, box, fontsize=fontsize + 1)
                taken.append(box)
                break
    return taken


def _write_ticks(
    axes: Axes,
    projection: Projection,
    edges: Sequence[Edge],
    ticks: Sequence[_Ticks],
    *,
    look: Look,
    size: _Size,
    taken: Sequence[_Box],
) -> None:
    """Write the ticks that fit into the picture and overlap no text in the boxes `taken`."""
    taken, fontsize = list(taken), _fontsize(look)
    for edge, (voxels, texts) in zip(edges, ticks, strict=True):
        points, _ = projection.project(projection.along(edge.place, edge.axis, voxels))
        for text, at in zip(texts, points, strict=True):
            box = _box(text, at, edge.away, 4, fontsize)
            if _is_free(box, taken) and np.all(box >= 0) and np.all(box[2:] <= size):
                _text(axes, text, box, fontsize=fontsize, color=_GREY["ticks"])
                taken.append(box)


def _fontsize(look: Look) -> float:
    return 7.5 if look.small else 9.0


def _box(
    text: str, at: NDArray[np.float64], away: NDArray[np.float64], gap: float, fontsize: float
) -> _Box:
    """Return left, bottom, right and top of a text beyond a point, with room for any letters."""
    half = np.array([0.33 * fontsize * len(text), 0.62 * fontsize])
    centre = at + away * (gap + np.abs(away) @ half)
    return np.concatenate([centre - half, centre + half])


def _moved_inside(box: _Box, size: _Size) -> _Box:
    """Move a box into a picture of this size, by as little as it takes."""
    extent = box[2:] - box[:2]
    low = np.minimum(np.maximum(box[:2], 0), size - extent)
    return np.concatenate([low, low + extent])


def _is_free(box: _Box, taken: Sequence[_Box]) -> bool:
    return not any(np.all(box[:2] < other[2:]) and np.all(other[:2] < box[2:]) for other in taken)


def _text(axes: Axes, text: str, box: _Box, **style: Any) -> None:
    x, y = (box[:2] + box[2:]) / 2
    axes.text(x, y, text, ha="center", va="center", zorder=3, **style)
