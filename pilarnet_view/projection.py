"""Where points of a cube fall on a picture, and which edges of its box carry ticks.

The page does the same in template/camera.js and template/axes.js.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_view.camera import Camera

__all__ = ["Edge", "Projection", "nice_ticks"]

#: Distance of the viewer from the centre of the box, in half diagonals of it.
_DISTANCE: Final = 6.0
#: An edge that is shorter, in points, cannot carry ticks.
_LEAST_EDGE: Final = 12.0


@dataclass(frozen=True, eq=False)
class Edge:
    """An edge of the box: where it is, its two ends, and the direction away from the box.

    `place` is a corner of the box in voxels; along the edge its coordinate `axis` changes.
    """

    axis: int
    place: NDArray[np.float64]
    ends: NDArray[np.float64]
    away: NDArray[np.float64]

    @property
    def length(self) -> float:
        """Its length in points."""
        return float(np.linalg.norm(self.ends[1] - self.ends[0]))


class Projection:
    """Turns voxels into points of a picture, in perspective unless it looks along an axis.

    Parameters
    ----------
    box : float64 array [2, 3]
        Two corners, in voxels.
    camera : Camera
        Where the viewer is.
    frame : tuple of four float
        Left, right, bottom and top of the part of the picture that the box may take, in points.

    Attributes
    ----------
    scale : float
        Points of a voxel at the centre.
    size : float64 array [2]
        Width and height that the box takes, in points.
    """

    def __init__(
        self, box: NDArray[np.float64], camera: Camera, frame: tuple[float, float, float, float]
    ) -> None:
        self.box, self.basis = box, camera.basis
        self.flat = camera.plane is not None
        self._centre = box.mean(axis=0)
        half = (box[1] - box[0]) / 2
        self._far = np.inf if self.flat else _DISTANCE * float(np.linalg.norm(half))
        left, right, bottom, top = frame
        corners = np.array(list(product(*box.T)))
        # How far the corners reach at a scale of 1.
        self.scale, self._middle = 1.0, np.zeros(2)
        reach = self.project(corners)[0]
        low, high = reach.min(axis=0), reach.max(axis=0)
        self.scale = float(np.min((right - left, top - bottom) / np.maximum(high - low, 1e-9)))
        self.size = self.scale * (high - low)
        self._middle = np.array([left + right, bottom + top]) / 2 - self.scale * (low + high) / 2

    def project(
        self, voxels: NDArray[np.floating] | NDArray[np.integer]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Project voxels [n, 3].

        Returns
        -------
        points : float64 array [n, 2]
            Points of the picture.
        depth : float64 array [n]
            Distance from the centre of the box towards the viewer, in voxels.
        """
        right, up, depth = ((voxels - self._centre) @ self.basis.T).T
        near = 1.0 if self.flat else self._far / (self._far - depth)
        return self._middle + self.scale * np.stack([right * near, up * near], axis=1), depth

    @property
    def back(self) -> NDArray[np.intp]:
        """The side of the box that is behind, for each axis: 0 low or 1 high, intp [3]."""
        return np.where(self.basis[2] > 1e-9, 0, 1)

    def lines(self) -> list[tuple[int, int, int]]:
        """List the edges of the box that are not in front: axis, and sides of the other two."""
        back = self.back
        return [
            (axis, first, second)
            for axis, first, second in product(range(3), (0, 1), (0, 1))
            if first == back[_others(axis)[0]] or second == back[_others(axis)[1]]
        ]

    def edge(self, axis: int) -> Edge | None:
        """Choose the edge of an axis that carries its ticks, on the outline; None if too short."""
        best, highest = None, -np.inf
        one, two = _others(axis)
        for first, second in product((0, 1), (0, 1)):
            if (first == self.back[one]) == (second == self.back[two]):
                continue  # inside the outline
            place = self.box[0].copy()
            place[one], place[two] = self.box[first, one], self.box[second, two]
            ends = self.project(self.along(place, axis, self.box[:, axis]))[0]
            side = ends[1] - ends[0]
            length = float(np.linalg.norm(side))
            if length < _LEAST_EDGE:
                continue
            away = np.array([-side[1], side[0]]) / length
            if away @ (ends.mean(axis=0) - self.project(self._centre[None])[0][0]) < 0:
                away = -away
            # Below the box is best, then to its left.
            score = -away[1] - 0.8 * away[0]
            if score > highest:
                best, highest = Edge(axis, place, ends, away), score
        return best

    @staticmethod
    def along(
        place: NDArray[np.float64], axis: int, values: NDArray[np.float64]
    ) -> NDArray[np.float64]:
        """Return copies of a place with `values` for its coordinate `axis`, float64 [n, 3]."""
        places = np.repeat(place[None], len(values), axis=0)
        places[:, axis] = values
        return places


def _others(axis: int) -> tuple[int, int]:
    first, second = (other for other in range(3) if other != axis)
    return first, second


def nice_ticks(low: float, high: float, *, most: float) -> tuple[NDArray[np.float64], list[str]]:
    """Choose ticks between two values, 1, 2 or 5 times a power of ten apart.

    Parameters
    ----------
    low, high : float
        The ends of the axis.
    most : float
        About how many ticks have room.

    Returns
    -------
    ticks : float64 array [n]
        At least two where they have room, so that they show the scale.
    texts : list of str
        The ticks as they are written.
    """
    rough = (high - low) / max(1.0, most)
    power = 10.0 ** np.floor(np.log10(rough))
    factors = (10, 5, 2, 1, 0.5, 0.2, 0.1)
    finest = min(factor for factor in factors if factor * power >= 0.999 * rough)
    steps = [factor * power for factor in factors if factor <= finest]
    counts = [np.floor(high / step) - np.ceil(low / step) + 1 for step in steps]
    room = max(3.0, 1.6 * most)
    finer = (step for step, count in zip(steps, counts, strict=True) if 1 < count <= room)
    step = steps[0] if counts[0] > 1 else next(finer, steps[0])
    ticks = step * np.arange(np.ceil(low / step), np.floor(high / step) + 1)
    digits = max(0, -int(np.floor(np.log10(step) + 1e-9)))
    return ticks, [f"{value:z.{digits}f}".replace("-", "\u2212") for value in ticks]
