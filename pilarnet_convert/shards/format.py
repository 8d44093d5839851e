"""The shard format, version 2: names, splits, arrays, and what the root says of a shard."""

from __future__ import annotations

import json
import re
import zlib
from collections.abc import Mapping
from dataclasses import KW_ONLY, asdict, dataclass
from functools import partial
from typing import Any, Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "ARRAYS",
    "CONVERSION_FOLDER",
    "FORMAT_NAME",
    "FORMAT_VERSION",
    "MOST_PROCESSES",
    "PARTICLE_ARRAYS",
    "REJECTIONS",
    "SHARD_NAME",
    "SPLITS",
    "VOXEL_ARRAYS",
    "ArraySpec",
    "FileCheck",
    "ShardEntry",
    "attributes_checksum",
    "no_particles",
    "shard_name",
]

FORMAT_NAME: Final = "pilarnet-particles"
FORMAT_VERSION: Final = 2
SPLITS: Final = ("train", "val", "test")
SHARD_NAME: Final = re.compile(rf"({'|'.join(SPLITS)})/\d{{5,}}")
#: The folder in a set of shards that holds the state of an unfinished conversion.
CONVERSION_FOLDER: Final = ".conversion"
#: The most names of creation processes in a shard, as the array ``process`` is uint16.
MOST_PROCESSES: Final = 1 << 16

#: Why a cluster of the input is not in the shards; the first reason that holds counts.
REJECTIONS: Final = {
    "no_particle": "the event's last, without a particle",
    "other_species": "none of the five classes (kaon, ...)",
    "not_primary": "not primary (--primaries-only)",
    "below_min_voxels": "fewer voxels than --min-voxels",
}


@dataclass(frozen=True)
class ArraySpec:
    """An array of a shard: its dtype, dimensions, unit and meaning."""

    dtype: str
    _: KW_ONLY
    dimensions: tuple[str, ...] = ("particle",)
    unit: str = ""
    meaning: str

    @property
    def row_shape(self) -> tuple[int, ...]:
        """Return the shape of a row: () or (3,)."""
        return (3,) * (len(self.dimensions) - 1)

    @property
    def attributes(self) -> dict[str, str]:
        """Return the attributes that the array has in a shard."""
        return {"meaning": self.meaning} | ({"unit": self.unit} if self.unit else {})


_of_voxels = partial(ArraySpec, dimensions=("voxel",))
_vectors = partial(ArraySpec, "float32", dimensions=("particle", "axis"))

#: Arrays with a row for each voxel.
VOXEL_ARRAYS: Final = {
    "x": _of_voxels("uint16", unit="voxel", meaning="index inside the event's cube"),
    "y": _of_voxels("uint16", unit="voxel", meaning="index inside the event's cube"),
    "z": _of_voxels("uint16", unit="voxel", meaning="index inside the event's cube"),
    "energy": _of_voxels("float32", unit="MeV", meaning="energy deposited in the voxel"),
}

#: Arrays with a row for each particle; ``offset`` has one more.
PARTICLE_ARRAYS: Final = {
    "offset": ArraySpec(
        "int64",
        dimensions=("boundary",),
        meaning="particle i owns voxels offset[i] to offset[i+1], end excluded",
    ),
    "label": ArraySpec("int8", meaning="0 electron, 1 proton, 2 gamma, 3 muon, 4 pion"),
    "pdg": ArraySpec("int32", meaning="PDG code"),
    "process": ArraySpec("uint16", meaning="Geant4 creation process, an index into process_names"),
    "energy_init": ArraySpec("float32", unit="MeV", meaning="total energy, with the mass"),
    "energy_deposit": ArraySpec("float32", unit="MeV", meaning="energy deposited"),
    "momentum": _vectors(unit="MeV/c", meaning="momentum at creation"),
    "start": _vectors(unit="cm", meaning="first step in the volume"),
    "end": _vectors(unit="cm", meaning="last step in the volume"),
    "origin": _vectors(unit="cm", meaning="corner of the event's cube at voxel 0"),
    "track_id": ArraySpec("int64", meaning="Geant4 track"),
    "parent_track_id": ArraySpec("int64", meaning="track of the parent; a primary names itself"),
    "run": ArraySpec("int64", meaning="run of the event"),
    "subrun": ArraySpec("int64", meaning="subrun of the event"),
    "event": ArraySpec("int64", meaning="number of the event"),
    "source": ArraySpec("int32", meaning="input file, an index into the root's sources"),
    "entry": ArraySpec("int32", meaning="entry of the event in its file"),
    "cluster": ArraySpec("int32", meaning="index in the event's list of clusters"),
}

#: All arrays of a shard.
ARRAYS: Final = {**VOXEL_ARRAYS, **PARTICLE_ARRAYS}


def no_particles() -> dict[str, NDArray[Any]]:
    """Return every array of a shard, of no particles."""
    arrays = {name: np.zeros((0, *spec.row_shape), spec.dtype) for name, spec in ARRAYS.items()}
    return arrays | {"offset": np.zeros(1, np.int64)}


def shard_name(split: str, task: int) -> str:
    """Name the shard of a split that a task writes, such as ``train/00012``."""
    return f"{split}/{task:05d}"


class FileCheck(NamedTuple):
    """The size of a file in bytes and its CRC-32, as zlib computes it.

    It is not CRC-32C, which Zarr puts behind each chunk: the CRC of data followed by their own CRC
    is the same for all data, and would not distinguish two files of one size.
    """

    size: int
    crc32: int

    @classmethod
    def of(cls, data: bytes) -> FileCheck:
        """Return size and checksum of the contents of a file."""
        return cls(len(data), zlib.crc32(data))


def attributes_checksum(attributes: Mapping[str, Any]) -> str:
    """Return the CRC-32 of a root's attributes without ``checksum``, as compact sorted JSON."""
    others = {name: value for name, value in attributes.items() if name != "checksum"}
    data = json.dumps(others, sort_keys=True, separators=(",", ":")).encode()
    return f"{FileCheck.of(data).crc32:08x}"


@dataclass(frozen=True, kw_only=True)
class ShardEntry:
    """What the root says of a shard.

    Attributes
    ----------
    name : str
        Its path in the set, such as ``"train/00012"``.
    particles, voxels : int
        How many it has.
    counts : mapping of str to int
        The number of particles of each class.
    files : mapping of str to FileCheck
        Its data files by the name of the array, and its metadata as ``"zarr.json"``.
    """

    name: str
    particles: int
    voxels: int
    counts: Mapping[str, int]
    files: Mapping[str, FileCheck]

    @property
    def split(self) -> str:
        """The split of the shard."""
        return self.name.split("/")[0]

    def shape(self, array: str) -> tuple[int, ...]:
        """Return the shape of an array of this shard."""
        rows = self.voxels if array in VOXEL_ARRAYS else self.particles + (array == "offset")
        return (rows, *ARRAYS[array].row_shape)

    def to_json(self) -> dict[str, Any]:
        """Return the entry as JSON values."""
        return asdict(self) | {"files": {name: list(check) for name, check in self.files.items()}}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> ShardEntry:
        """Read an entry back from its JSON values."""
        if not SHARD_NAME.fullmatch(document["name"]):  # no name leads out of the set
            raise ValueError(f"no name of a shard: {document['name']}")
        files = {name: FileCheck(*check) for name, check in document["files"].items()}
        entry = cls(**{**document, "files": files})
        numbers = [entry.particles, entry.voxels, *entry.counts.values()]
        numbers += [number for check in files.values() for number in check]
        if not all(type(number) is int and number >= 0 for number in numbers):
            raise ValueError(f"the entry of {entry.name} has counts that are no whole numbers")
        if not entry.particles or not entry.voxels or sum(entry.counts.values()) != entry.particles:
            raise ValueError(f"the counts of {entry.name} are inconsistent")
        return entry
