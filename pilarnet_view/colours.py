"""Colours that colour-blind readers can tell apart, on a light and on a dark background.

Classes have the colours of M. Okabe and K. Ito (jfly.uni-koeln.de/color); energies take viridis,
without the end that the background would hide.
"""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.pictures import ENERGY_COLOURS, VIRIDIS
from pilarnet_convert.species import CLASSES, COLOURS

__all__ = [
    "COLOURINGS",
    "NO_PARTICLE",
    "PARTICLE_COLOURS",
    "SCALES",
    "SPECIES_COLOURS",
    "SYMBOLS",
    "number_by_size",
    "species_name",
]

#: How voxels may be coloured: by the class of their particle, by particle, by energy.
COLOURINGS: Final = ("class", "particle", "energy")

_OTHER_SPECIES: Final = "other species"
NO_PARTICLE: Final = "no particle"

#: A colour for each class, for all other particles, and for clusters without a particle.
SPECIES_COLOURS: Final = MappingProxyType(
    {**COLOURS, _OTHER_SPECIES: "#56B4E9", NO_PARTICLE: "#6E6E6E"}
)

#: Colours of particles that are neighbours in a list, by theme; they repeat. None of them is
#: the colour of a class. P. Tol's schemes "muted" and "light" (SRON/EPS/TN/09-002, 2021).
PARTICLE_COLOURS: Final = MappingProxyType(
    {
        "light": (
            *("#332288", "#CC6677", "#117733", "#88CCEE", "#882255"),
            *("#999933", "#44AA99", "#AA4499", "#DDCC77"),
        ),
        "dark": (
            *("#77AADD", "#EE8866", "#BBCC33", "#FFAABB", "#44BB99"),
            *("#EEDD88", "#99DDFF", "#AAAA00", "#DDDDDD"),
        ),
    }
)

#: Symbols that tell particles of the same colour apart: the page's name, matplotlib's marker.
SYMBOLS: Final = (("circle", "o"), ("square", "s"), ("diamond", "D"))

#: Colours from low to high energy, by theme.
SCALES: Final = MappingProxyType({"light": ENERGY_COLOURS, "dark": VIRIDIS[2:]})


def species_name(label: int) -> str:
    """Name the class of a label; any that is not a class is ``"other species"``."""
    return CLASSES[label].name if 0 <= label < len(CLASSES) else _OTHER_SPECIES


def number_by_size(num_voxels: Sequence[int] | NDArray[np.int64]) -> list[int]:
    """Choose numbers of colours: the largest particles get the first, which differ the most."""
    order = np.argsort(-np.asarray(num_voxels), kind="stable")
    numbers: list[int] = np.argsort(order).tolist()
    return numbers
