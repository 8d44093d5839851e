"""The five classes of particles: names, PDG codes, published counts and colours."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES",
    "CLASS_NAMES",
    "COLOURS",
    "OTHER",
    "PUBLISHED_COUNTS",
    "ParticleClass",
    "is_pdg_code",
    "label_of_pdg",
]


@dataclass(frozen=True, kw_only=True)
class ParticleClass:
    """One of the five classes: its label, its name, and the PDG codes it holds."""

    label: int
    name: str
    pdg_codes: tuple[int, ...]


CLASSES: Final = (
    ParticleClass(label=0, name="electron", pdg_codes=(11, -11)),
    ParticleClass(label=1, name="proton", pdg_codes=(2212,)),
    ParticleClass(label=2, name="gamma", pdg_codes=(22,)),
    ParticleClass(label=3, name="muon", pdg_codes=(13, -13)),
    ParticleClass(label=4, name="pion", pdg_codes=(211, -211)),
)
CLASS_NAMES: Final = tuple(c.name for c in CLASSES)
#: Label of a particle outside the five classes; never written to a shard.
OTHER: Final = -1

#: Particles of at least 10 voxels that the original study kept of 100k events at 512 pixels.
PUBLISHED_COUNTS: Final = {
    "electron": 291_291,
    "proton": 212_228,
    "gamma": 189_227,
    "muon": 184_699,
    "pion": 65_248,
}

#: A colour of each class, from the palette of M. Okabe and K. Ito, which colour-blind readers can
#: tell apart (jfly.uni-koeln.de/color).
COLOURS: Final = {
    "electron": "#0072B2",
    "proton": "#D55E00",
    "gamma": "#E69F00",
    "muon": "#009E73",
    "pion": "#CC79A7",
}

_LABEL_OF_PDG: Final = {code: c.label for c in CLASSES for code in c.pdg_codes}
_PDG_SORTED: Final = np.array(sorted(_LABEL_OF_PDG))
_LABEL_SORTED: Final = np.array([_LABEL_OF_PDG[code] for code in sorted(_LABEL_OF_PDG)], np.int8)


def label_of_pdg(pdg: NDArray[np.integer]) -> NDArray[np.int8]:
    """Give each PDG code its class label, int8 of the same shape.

    A label is 0 to 4, or `OTHER` (-1) for every code outside the five classes.
    """
    position = np.searchsorted(_PDG_SORTED, pdg).clip(max=len(_PDG_SORTED) - 1)
    return np.where(_PDG_SORTED[position] == pdg, _LABEL_SORTED[position], np.int8(OTHER))


def is_pdg_code(pdg: int) -> bool:
    """Tell whether an integer is a well-formed Monte Carlo particle number.

    The rules are those of the numbering scheme of the Particle Data Group (Review of Particle
    Physics, "Monte Carlo particle numbering scheme"): elementary particles, nuclei
    ``10LZZZAAAI``, and hadrons ``n nr nL nq1 nq2 nq3 nJ`` built of quark digits.
    """
    code = abs(int(pdg))
    if code >= 1_000_000_000:
        protons, nucleons = code // 10_000 % 1000, code // 10 % 1000
        return code < 1_100_000_000 and protons <= nucleons and nucleons > 0
    if code <= 100:
        return code in _ELEMENTARY
    if code in (130, 310):  # K0_L and K0_S end in the digit 0 by convention
        return True
    spin, q3, q2, q1 = (code // 10**i % 10 for i in range(4))
    return code < 10_000_000 and spin > 0 and 1 <= q3 <= 6 and 1 <= q2 <= 6 and q1 <= 6


_ELEMENTARY: Final = frozenset([*range(1, 9), *range(11, 19), *range(21, 26), *range(32, 38)])
