"""The vocabulary of the shards: classes, arrays, and the names of the format.

Everything here is a constant or a pure function of numpy arrays, so that both packages
can import it at no cost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "CLASSES",
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "OTHER",
    "PARTICLE_ARRAYS",
    "PUBLISHED_COUNTS",
    "REJECTIONS",
    "SPLITS",
    "VOXEL_ARRAYS",
    "VOXEL_SIZE_CM",
    "ArraySpec",
    "ParticleClass",
    "is_pdg_code",
    "label_of_pdg",
]

FORMAT_NAME: Final = "pilarnet-particles"
FORMAT_VERSION: Final = 1
SPLITS: Final = ("train", "val", "test")
#: Edge of a PILArNet voxel (arXiv:2006.01993), cm. A file's own geometry is what is stored.
VOXEL_SIZE_CM: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class ParticleClass:
    """One of the five classes: its label, its names, and the PDG codes it holds."""

    label: int
    name: str
    symbol: str
    pdg_codes: tuple[int, ...]


CLASSES: Final = (
    ParticleClass(label=0, name="electron", symbol="e", pdg_codes=(11, -11)),
    ParticleClass(label=1, name="proton", symbol="p", pdg_codes=(2212,)),
    ParticleClass(label=2, name="gamma", symbol="gamma", pdg_codes=(22,)),
    ParticleClass(label=3, name="muon", symbol="mu", pdg_codes=(13, -13)),
    ParticleClass(label=4, name="pion", symbol="pi", pdg_codes=(211, -211)),
)
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

#: Why a cluster of the input is not in the shards, in the order in which it is decided.
REJECTIONS: Final = {
    "no_particle": "cluster without a particle (the last of an event)",
    "other_species": "not one of the five classes (kaon, neutron, nucleus, ...)",
    "not_primary": "not a primary particle (--primaries-only)",
    "below_min_voxels": "fewer voxels than --min-voxels",
}


@dataclass(frozen=True, kw_only=True)
class ArraySpec:
    """An array of a shard: its dtype, its trailing shape, its unit and its meaning."""

    dtype: str
    shape: tuple[int, ...] = ()
    unit: str = ""
    meaning: str


#: Arrays with a row a voxel.
VOXEL_ARRAYS: Final = {
    "x": ArraySpec(dtype="uint16", unit="voxel", meaning="index inside the event's cube"),
    "y": ArraySpec(dtype="uint16", unit="voxel", meaning="index inside the event's cube"),
    "z": ArraySpec(dtype="uint16", unit="voxel", meaning="index inside the event's cube"),
    "energy": ArraySpec(dtype="float32", unit="MeV", meaning="energy deposited in the voxel"),
}

#: Arrays with a row a particle; ``offset`` has one more.
PARTICLE_ARRAYS: Final = {
    "offset": ArraySpec(
        dtype="int64", meaning="particle i owns voxels offset[i] to offset[i+1], end excluded"
    ),
    "label": ArraySpec(dtype="int8", meaning="0 electron, 1 proton, 2 gamma, 3 muon, 4 pion"),
    "pdg": ArraySpec(dtype="int32", meaning="PDG code"),
    "process": ArraySpec(
        dtype="uint8", meaning="Geant4 creation process, an index into process_names"
    ),
    "energy_init": ArraySpec(dtype="float32", unit="MeV", meaning="total energy, with the mass"),
    "energy_deposit": ArraySpec(dtype="float32", unit="MeV", meaning="energy deposited"),
    "momentum": ArraySpec(
        dtype="float32", shape=(3,), unit="MeV/c", meaning="momentum at creation"
    ),
    "start": ArraySpec(dtype="float32", shape=(3,), unit="cm", meaning="first step in the volume"),
    "end": ArraySpec(dtype="float32", shape=(3,), unit="cm", meaning="last step in the volume"),
    "origin": ArraySpec(
        dtype="float32", shape=(3,), unit="cm", meaning="corner of the event's cube at voxel 0"
    ),
    "track_id": ArraySpec(dtype="int64", meaning="Geant4 track"),
    "parent_track_id": ArraySpec(
        dtype="int64", meaning="track of the parent; a primary names itself"
    ),
    "run": ArraySpec(dtype="int64", meaning="run of the event"),
    "subrun": ArraySpec(dtype="int64", meaning="subrun of the event"),
    "event": ArraySpec(dtype="int64", meaning="number of the event"),
    "source": ArraySpec(dtype="int32", meaning="input file, an index into the root's sources"),
    "entry": ArraySpec(dtype="int32", meaning="entry of the event in its file"),
    "cluster": ArraySpec(dtype="int32", meaning="index in the event's list of clusters"),
}

_PDG_SORTED: Final = np.array(sorted(code for c in CLASSES for code in c.pdg_codes))
_LABEL_SORTED: Final = np.array(
    [next(c.label for c in CLASSES if code in c.pdg_codes) for code in _PDG_SORTED], np.int8
)


def label_of_pdg(pdg: NDArray[np.integer]) -> NDArray[np.int8]:
    """Give each PDG code its class label.

    Parameters
    ----------
    pdg : integer array, any shape
        PDG codes.

    Returns
    -------
    int8 array of the same shape
        0 to 4, or `OTHER` (-1) for every code outside the five classes.
    """
    position = np.searchsorted(_PDG_SORTED, pdg).clip(max=len(_PDG_SORTED) - 1)
    return np.where(_PDG_SORTED[position] == pdg, _LABEL_SORTED[position], np.int8(OTHER))


def is_pdg_code(pdg: int) -> bool:
    """Tell whether an integer is a well-formed Monte Carlo particle number.

    The rules are those of the numbering scheme of the Particle Data Group (Review of Particle
    Physics, "Monte Carlo particle numbering scheme"): elementary particles, nuclei
    ``10LZZZAAAI``, and hadrons ``n nr nL nq1 nq2 nq3 nJ`` built of quark digits.

    Parameters
    ----------
    pdg : int
        The code to check.

    Returns
    -------
    bool
        False for 0 and for numbers that name no particle.
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
