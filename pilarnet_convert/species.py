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
    "MASSES_MEV",
    "OTHER",
    "OTHER_COLOURS",
    "PUBLISHED_COUNTS",
    "ParticleClass",
    "label_of_pdg",
    "name_of_pdg",
]


@dataclass(frozen=True, kw_only=True)
class ParticleClass:
    """One of the five classes: its label, its name, and the PDG codes that belong to it."""

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
#: Masses, MeV: Particle Data Group, Review of Particle Physics (2024).
MASSES_MEV: Final = {
    code: mass
    for species, mass in zip(
        CLASSES, (0.51099895, 938.27208816, 0.0, 105.6583755, 139.57039), strict=True
    )
    for code in species.pdg_codes
}
#: Label of a particle outside the five classes; never written to a shard.
OTHER: Final = -1

#: Particles of at least 10 voxels that the original study had, from 100,000 events at 512 pixels.
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

#: Colours of things other than classes: methods, and domains (violet and lime). None looks like
#: that of a class. Most are from P. Tol's scheme "muted" (SRON/EPS/TN/09-002, 2021).
OTHER_COLOURS: Final = {
    "indigo": "#332288",
    "olive": "#999933",
    "wine": "#882255",
    "sky": "#88CCEE",
    "brown": "#7A4A21",
    "black": "#000000",
    "grey": "#7A7A7A",
    "violet": "#7B3FA0",
    "lime": "#8BBF1F",
}

_LABEL_OF_PDG: Final = {code: c.label for c in CLASSES for code in c.pdg_codes}
_PDG_SORTED: Final = np.array(sorted(_LABEL_OF_PDG))
_LABEL_SORTED: Final = np.array([_LABEL_OF_PDG[code] for code in sorted(_LABEL_OF_PDG)], np.int8)


def label_of_pdg(pdg: NDArray[np.integer]) -> NDArray[np.int8]:
    """Return the class label of each PDG code, int8 of the same shape.

    A label is 0 to 4, or `OTHER` (-1) for every code outside the five classes.
    """
    position = np.searchsorted(_PDG_SORTED, pdg).clip(max=len(_PDG_SORTED) - 1)
    return np.where(_PDG_SORTED[position] == pdg, _LABEL_SORTED[position], np.int8(OTHER))


def name_of_pdg(pdg: int) -> str:
    """Name a PDG code as scikit-hep's ``particle`` does, such as ``K+``; empty if it cannot."""
    from particle import InvalidParticle, Particle, ParticleNotFound  # takes long to import

    try:
        return str(Particle.from_pdgid(pdg).name)
    except (ParticleNotFound, InvalidParticle):
        return ""
