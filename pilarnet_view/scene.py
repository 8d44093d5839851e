"""What is shown, as numbers: particle clouds in panels. `page` and `picture` draw it.

Shapes: V voxels of a cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import counted
from pilarnet_convert.options import OptionError
from pilarnet_convert.pictures import energy_range
from pilarnet_view.colours import COLOURINGS

__all__ = [
    "Panel",
    "ParticleCloud",
    "Scene",
    "frame",
    "in_voxels",
]

#: Shortest edge of a frame, in voxels and relative to the longest, so that ticks have room.
_LEAST_EDGE: Final = 8.0
_LEAST_RELATIVE_EDGE: Final = 0.35


@dataclass(frozen=True, kw_only=True)
class ParticleCloud:
    """The voxels of a particle and what is known of it.

    Attributes
    ----------
    name : str
        Which particle it is, e.g. ``"cluster 3"``.
    species : str
        A key of `SPECIES_COLOURS`.
    number : int
        Its colour, by position in the list, when each particle has its own.
    xyz, energy_mev : int32 array [V, 3], float32 array [V]
        Voxels and their deposited energies.
    num_voxels, deposit_mev : int, float
        Voxels and energy in total, before thinning.
    pdg : int, optional
        PDG code.
    process : str
        Geant4 creation process; empty where it is not known.
    energy_init_mev : float
        Total energy at creation, including the mass; NaN where it is not known.
    event : str
        The event it belongs to, where the scene holds particles of several.
    track_id, parent_track_id : int
        Geant4 tracks; -1 where they are not known.
    parent : str
        The parent, in words.
    start, end : float64 array [3], optional
        The first and the last step, in voxels; None where they are not known.
    """

    name: str
    species: str
    number: int
    xyz: NDArray[np.int32]
    energy_mev: NDArray[np.float32]
    num_voxels: int
    deposit_mev: float
    pdg: int | None = None
    process: str = ""
    energy_init_mev: float = float("nan")
    event: str = ""
    track_id: int = -1
    parent_track_id: int = -1
    parent: str = ""
    start: NDArray[np.float64] | None = None
    end: NDArray[np.float64] | None = None

    @classmethod
    def of(cls, xyz: NDArray[Any], energy_mev: NDArray[Any], **known: Any) -> ParticleCloud:
        """Make a cloud of all voxels of a particle."""
        return cls(**_measured(xyz, energy_mev), **known)

    def with_voxels(
        self, xyz: NDArray[Any], energy_mev: NDArray[Any], *, name: str
    ) -> ParticleCloud:
        """Return the same particle with other voxels and no known steps, under another name."""
        return replace(self, name=name, start=None, end=None, **_measured(xyz, energy_mev))

    @property
    def size(self) -> str:
        """Number of voxels and energy, in words."""
        return f"{counted(self.num_voxels, 'voxel')}, {self.deposit_mev:,.1f} MeV"

    @property
    def summary(self) -> str:
        """Name, species and size, in words."""
        return f"{self.name}: {self.species}, {self.size}"

    @property
    def facts(self) -> tuple[str, ...]:
        """What is known of the particle, in lines, for a hover text."""
        lines = [f"{self.name}: {self.species}"]
        if self.pdg is not None:
            lines.append(f"PDG {self.pdg}, process {self.process or 'not known'}")
        if np.isfinite(self.energy_init_mev):
            lines.append(f"total energy at creation {self.energy_init_mev:,.1f} MeV")
        if self.parent:
            lines.append(f"parent {self.parent}")
        lines.append(f"{self.size} deposited")
        if self.event:
            lines.append(self.event)
        return tuple(lines)


def _measured(xyz: NDArray[Any], energy_mev: NDArray[Any]) -> dict[str, Any]:
    """Return the fields of a cloud that follow from its voxels."""
    return {
        "xyz": np.asarray(xyz, np.int32).reshape(-1, 3),
        "energy_mev": np.asarray(energy_mev, np.float32),
        "num_voxels": len(energy_mev),
        "deposit_mev": float(np.sum(energy_mev, dtype=np.float64)),
    }


@dataclass(frozen=True, kw_only=True)
class Panel:
    """One set of axes.

    Attributes
    ----------
    clouds : tuple of ParticleCloud
        What it shows.
    low, high : float64 arrays [3]
        The corners of its frame, in voxels.
    grid : int64 array [3]
        The voxels of the event's cube along each axis.
    origin_cm : float64 array [3]
        The corner of voxel 0.
    title, caption : str
        The text above it, and a smaller line below the title.
    vertices, links : float64 arrays [n, 3], [n, 3, 3]
        See `pilarnet_view.relations`.
    event : Panel, optional
        The whole event, where the panel shows a particle of it.
    focus : int, optional
        Position of the cloud that is highlighted initially.
    """

    clouds: tuple[ParticleCloud, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    grid: NDArray[np.int64]
    origin_cm: NDArray[np.float64]
    title: str = ""
    caption: str = ""
    vertices: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3)))
    links: NDArray[np.float64] = field(default_factory=lambda: np.empty((0, 3, 3)))
    event: Panel | None = None
    focus: int | None = None

    @classmethod
    def around(
        cls,
        clouds: tuple[ParticleCloud, ...],
        *,
        framed: Sequence[ParticleCloud] = (),
        grid: NDArray[np.int64],
        **known: Any,
    ) -> Panel:
        """Make a panel whose frame has room for its clouds, or for all of `framed`.

        Without a voxel the frame is the cube.
        """
        framed = framed or clouds
        low, high = frame(framed) if framed else _cube(grid)
        return cls(clouds=clouds, low=low, high=high, grid=grid, **known)

    def with_cube(self) -> Panel:
        """Return the panel with the whole cube for its frame."""
        low, high = _cube(self.grid)
        return replace(self, low=np.minimum(low, self.low), high=np.maximum(high, self.high))


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that a page or a picture shows.

    Attributes
    ----------
    title, subtitle : str
        The text above it, and a smaller line below the title.
    panels : tuple of Panel
        What it shows, in order.
    columns : int
        Panels in a row of a picture. If it is 1, a page shows one panel at a time.
    colouring : str
        The default colouring, one of `COLOURINGS`.
    voxel_cm : tuple of three float, optional
        Edges of a voxel; None where they differ between events, and axes can only be in voxels.
    group : int
        How many consecutive panels belong together, such as a particle and its views.
    notes : tuple of str
        Remarks for the reader.
    """

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    columns: int
    colouring: str
    voxel_cm: tuple[float, float, float] | None
    group: int = 1
    notes: tuple[str, ...] = ()

    @property
    def clouds(self) -> list[ParticleCloud]:
        """The clouds of all panels, in order."""
        return [cloud for panel in self.panels for cloud in panel.clouds]

    @property
    def energy_range_mev(self) -> tuple[float, float]:
        """The energies at the ends of the colour scale."""
        return energy_range(np.concatenate([cloud.energy_mev for cloud in self.clouds]))

    def choose(self, *, colouring: str | None, axes: str | None) -> tuple[str, str]:
        """Return the colouring and the unit of the axes; None stands for the default of the scene.

        Raises
        ------
        OptionError
            If there is no such colouring or unit, or the scene has no cm.
        """
        unit = axes or ("cm" if self.voxel_cm else "voxels")
        if unit not in ("cm", "voxels"):
            raise OptionError("no such unit", field="--axes", expected="cm or voxels", found=unit)
        if unit == "cm" and self.voxel_cm is None:
            raise OptionError(
                "the events differ in the size of a voxel",
                field="--axes",
                expected="voxels",
                found="cm",
            )
        colouring = colouring or self.colouring
        if colouring not in COLOURINGS:
            raise OptionError(
                "no such colouring",
                field="--colour",
                expected=f"one of {', '.join(COLOURINGS)}",
                found=colouring,
            )
        return colouring, unit


def frame(clouds: Sequence[ParticleCloud]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Find a box around all voxels, no edge of which is too short for ticks.

    Returns
    -------
    low, high : float64 arrays [3]
        Its corners, in voxels.
    """
    xyz = np.concatenate([cloud.xyz for cloud in clouds])
    low, high = xyz.min(axis=0) - 0.5, xyz.max(axis=0) + 0.5
    edge = 1.04 * (high - low)
    edge = np.maximum(edge, max(_LEAST_EDGE, _LEAST_RELATIVE_EDGE * edge.max()))
    centre = (low + high) / 2
    return centre - edge / 2, centre + edge / 2


def in_voxels(
    place_cm: NDArray[Any], *, origin_cm: NDArray[Any], voxel_cm: NDArray[Any]
) -> NDArray[np.float64] | None:
    """Convert a place [3] from cm to voxels, float64 [3]; whole numbers are centres of voxels.

    It is None if a coordinate is not known, which is to say not finite.
    """
    if not np.all(np.isfinite(place_cm)):
        return None
    voxel: NDArray[np.float64] = (np.asarray(place_cm, np.float64) - origin_cm) / voxel_cm - 0.5
    return voxel


def _cube(grid: NDArray[np.int64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.full(3, -0.5), grid.astype(np.float64) - 0.5
