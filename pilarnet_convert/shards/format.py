"""The shard format: its name and version, its splits, and the arrays of a shard."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

__all__ = [
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "PARTICLE_ARRAYS",
    "REJECTIONS",
    "SPLITS",
    "VOXEL_ARRAYS",
    "VOXEL_SIZE_CM",
    "ArraySpec",
]

FORMAT_NAME: Final = "pilarnet-particles"
FORMAT_VERSION: Final = 1
SPLITS: Final = ("train", "val", "test")
#: Edge of a PILArNet voxel (arXiv:2006.01993), cm. A file's own geometry is what is stored.
VOXEL_SIZE_CM: Final = 0.3

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
