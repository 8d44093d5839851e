"""The units of a source's energies and momenta: MeV as in PILArNet, or GeV as in other files."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.species import MASSES_MEV

__all__ = [
    "MEV",
    "Truth",
    "Unit",
    "Units",
    "below_mass",
    "has_massive",
    "momentum_unit",
    "units_of",
]

Unit = Literal["MeV", "GeV"]
#: The relative difference allowed between a total energy and that from momentum and mass.
_TOLERANCE: Final = 0.01


@dataclass(frozen=True, kw_only=True)
class Units:
    """The units of the particles in the files of a source; voxels are always in MeV."""

    energy: Unit = "MeV"
    momentum: Unit = "MeV"


MEV: Final = Units()


class Truth(NamedTuple):
    """What shows the units of P particles: PDG code, total energy, and momentum [P, 3]."""

    pdg: NDArray[np.int32]
    energy_init: NDArray[np.float32]
    momentum: NDArray[np.float32]


def below_mass(pdg: NDArray[np.integer], energy_mev: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Return which total energies (MeV) are below the mass, which is impossible.

    Parameters
    ----------
    pdg, energy_mev : integer and float arrays [P]
        PDG codes and total energies.

    Returns
    -------
    bool array [P]
        False for particles that are not of the five classes, and for unknown energies.
    """
    return energy_mev < _masses(pdg) * (1 - _TOLERANCE)


def units_of(truth: Truth) -> Units | None:
    """Determine the units from the particles of a whole source.

    Parameters
    ----------
    truth : Truth
        All particles of the source.

    Returns
    -------
    Units or None
        MeV, unless an energy is below the particle's mass. Then GeV if it fits all particles: the
        energy agrees to 1 % with that from mass and momentum, with all momenta in MeV/c or all in
        GeV/c. None if neither fits.
    """
    if not below_mass(truth.pdg, truth.energy_init).any():
        return MEV
    units: tuple[Unit, ...] = ("GeV", "MeV")
    for momentum in units:
        if _fits_gev(truth, momentum).all():
            return Units(energy="GeV", momentum=momentum)
    return None


def momentum_unit(truth: Truth) -> Unit:
    """Return the unit of the momenta that fits more particles, if energies are in GeV."""
    return "MeV" if _fits_gev(truth, "MeV").sum() > _fits_gev(truth, "GeV").sum() else "GeV"


def has_massive(truth: Truth) -> bool:
    """Return whether any particle has a known mass; energies of others do not show a unit."""
    return bool((_masses(truth.pdg) > 0).any())


def _fits_gev(truth: Truth, momentum: Unit) -> NDArray[np.bool_]:
    """Return whether the energy of each particle of known mass, as GeV, fits its momentum."""
    mass = _masses(truth.pdg)
    known = np.isfinite(mass) & np.isfinite(truth.energy_init)
    energy = truth.energy_init[known].astype(np.float64) * 1000
    size = np.linalg.norm(truth.momentum[known].astype(np.float64), axis=1)
    expected = np.hypot(mass[known], size * (1000 if momentum == "GeV" else 1))
    fits: NDArray[np.bool_] = np.abs(energy - expected) <= _TOLERANCE * energy
    return fits


def _masses(pdg: NDArray[np.integer]) -> NDArray[np.float64]:
    """Return the mass of each particle, MeV; NaN if it is not of the five classes."""
    masses = np.full(len(pdg), np.nan)
    for code, mass in MASSES_MEV.items():
        masses[pdg == code] = mass
    return masses
