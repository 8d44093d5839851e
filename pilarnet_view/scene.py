"""What is shown, as numbers: particle clouds in panels. `page` and `picture` draw it.

Shapes: V voxels of a cloud.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.options import OptionError
from pilarnet_view.colours import COLOURINGS

__all__ = ["Panel", "ParticleCloud", "Pick", "Scene", "energy_range", "frame"]

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
        Its place in the list of colours when particles are coloured one by one.
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

    @classmethod
    def of(cls, xyz: NDArray[Any], energy_mev: NDArray[Any], **known: Any) -> ParticleCloud:
        """Make a cloud of all voxels of a particle."""
        return cls(**_measured(xyz, energy_mev), **known)

    def with_voxels(
        self, xyz: NDArray[Any], energy_mev: NDArray[Any], *, name: str
    ) -> ParticleCloud:
        """Give the same particle with other voxels, under another name."""
        return replace(self, name=name, **_measured(xyz, energy_mev))

    @property
    def size(self) -> str:
        """Number of voxels and energy, in words."""
        voxels = "1 voxel" if self.num_voxels == 1 else f"{self.num_voxels:,} voxels"
        return f"{voxels}, {self.deposit_mev:,.1f} MeV"

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
        lines.append(f"{self.size} deposited")
        if self.event:
            lines.append(self.event)
        return tuple(lines)


def _measured(xyz: NDArray[Any], energy_mev: NDArray[Any]) -> dict[str, Any]:
    """Give the fields of a cloud that follow from its voxels."""
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
    origin_cm : float64 array [3]
        The corner of voxel 0.
    title, caption : str
        The text above it, and a smaller line below that.
    """

    clouds: tuple[ParticleCloud, ...]
    low: NDArray[np.float64]
    high: NDArray[np.float64]
    origin_cm: NDArray[np.float64]
    title: str = ""
    caption: str = ""

    @classmethod
    def around(
        cls,
        clouds: tuple[ParticleCloud, ...],
        *,
        framed: Sequence[ParticleCloud] = (),
        **known: Any,
    ) -> Panel:
        """Make a panel whose frame has room for its clouds, or for all of `framed`."""
        low, high = frame(framed or clouds)
        return cls(clouds=clouds, low=low, high=high, **known)


@dataclass(frozen=True, kw_only=True)
class Pick:
    """What the reader may choose to look at: some panels, or one cloud in them."""

    name: str
    panels: tuple[int, ...]
    cloud: int | None = None


@dataclass(frozen=True, kw_only=True)
class Scene:
    """All that a page or a picture shows.

    Attributes
    ----------
    panels : tuple of Panel
        In order; `columns` in a row of a picture.
    picks : tuple of Pick
        What the reader of a page can choose.
    colouring : str
        The default colouring, one of `COLOURINGS`.
    voxel_cm : tuple of three float, optional
        Edges of a voxel; None where the events differ in it, and axes can only be in voxels.
    notes : tuple of str
        Remarks for the reader.
    """

    title: str
    subtitle: str
    panels: tuple[Panel, ...]
    picks: tuple[Pick, ...]
    columns: int
    colouring: str
    voxel_cm: tuple[float, float, float] | None
    notes: tuple[str, ...] = ()

    @property
    def clouds(self) -> list[ParticleCloud]:
        """The clouds of all panels, in order."""
        return [cloud for panel in self.panels for cloud in panel.clouds]

    def choose(self, *, colouring: str | None, axes: str | None) -> tuple[str, str]:
        """Give the colouring and the unit of the axes, where they are None those of the scene.

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
    """Find a box with room for clouds and for the ticks of its axes: its two corners, in voxels.

    All voxels lie inside, and no edge is much shorter than the longest.
    """
    xyz = np.concatenate([cloud.xyz for cloud in clouds])
    low, high = xyz.min(axis=0) - 0.5, xyz.max(axis=0) + 0.5
    edge = 1.04 * (high - low)
    edge = np.maximum(edge, max(_LEAST_EDGE, _LEAST_RELATIVE_EDGE * edge.max()))
    centre = (low + high) / 2
    return centre - edge / 2, centre + edge / 2


def energy_range(clouds: Sequence[ParticleCloud]) -> tuple[float, float]:
    """Find the energies between which colours run, in MeV, with ``0 < low < high``.

    They are the 2nd percentile of the energies above 0, and the largest.
    """
    energy = np.concatenate([cloud.energy_mev for cloud in clouds])
    energy = energy[energy > 0]
    if not len(energy):
        return 0.1, 1.0
    high = float(energy.max())
    return min(float(np.percentile(energy, 2)), high / 2), high
