"""Opening a set of shards, and reading blocks of particles from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards.format import (
    CONVERSION_FOLDER,
    FORMAT_NAME,
    FORMAT_VERSION,
    SPLITS,
    ShardEntry,
    attributes_checksum,
)
from pilarnet_convert.shards.joined import join_attributes
from pilarnet_convert.shards.particle import ParticleSequence
from pilarnet_convert.shards.shard import Shard, damage_reported
from pilarnet_convert.species import CLASS_NAMES
from pilarnet_convert.storage.byte_file import read_if_there
from pilarnet_convert.storage.cache import RangeCache, RangeReader
from pilarnet_convert.storage.remote import AnyPath, as_any_path

__all__ = [
    "ShardPaths",
    "Shards",
    "common_voxel_cm",
    "list_paths",
    "open_shards",
    "path_strings",
    "read_root_attributes",
]

_MAKE_SHARDS = "make shards with pilarnet-convert --input FILES --out shards/"


class Shards(ParticleSequence):
    """A set of shards, or several that are read as one: the sequence of all particles.

    ``shards["test"]`` is the sequence of the particles of a split.

    Attributes
    ----------
    paths : tuple of Path or RemotePath
        The folder of each set.
    attributes : mapping
        The attributes of the root group: sources, options, statistics; those of several sets are
        joined by `pilarnet_convert.shards.joined`.
    splits : mapping of str to tuple of Shard
        The shards of ``train``, ``val`` and ``test``, in order; a tuple may be empty.
    """

    def __init__(
        self, *sets: tuple[AnyPath, Mapping[str, Any]], cache: RangeCache | None = None
    ) -> None:
        self.paths = tuple(path for path, _ in sets)
        self.attributes = MappingProxyType(join_attributes([each for _, each in sets]))
        ranges = RangeReader(cache)
        self.splits: Mapping[str, tuple[Shard, ...]] = MappingProxyType(
            {split: tuple(_shards_of(split, sets, ranges)) for split in SPLITS}
        )
        super().__init__([shard for split in SPLITS for shard in self.splits[split]])

    def __str__(self) -> str:
        return ", ".join(map(str, self.paths))

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {self.num_particles(split):,}" for split in SPLITS)
        return f"<Shards {self}: {sizes} particles>"

    @property
    def path(self) -> AnyPath:
        """The folder of the first set."""
        return self.paths[0]

    @property
    def name(self) -> str:
        """The names of the folders, joined by ``+``."""
        return " + ".join(path.resolve().name for path in self.paths)

    def _repr_html_(self) -> str:
        from pilarnet_convert.shards.frames import class_counts  # imports pandas

        table = class_counts(self).map("{:,}".format)
        return f"<p>{escape(repr(self))}</p>{table.to_html()}"

    def __getitem__(self, index: Any) -> Any:
        """Read a particle or a slice of particles, or return the sequence of those of a split.

        Raises
        ------
        ShardError
            If there is no split of this name.
        """
        if not isinstance(index, str):
            return super().__getitem__(index)
        if index not in self.splits:
            raise ShardError("no such split", file=self, expected=", ".join(SPLITS), found=index)
        return ParticleSequence(self.splits[index])

    @property
    def voxel_cm(self) -> tuple[float, float, float] | None:
        """The edges of a voxel, cm; None if the events differ in them."""
        return common_voxel_cm(np.array([g["voxel_size_cm"] for g in self.attributes["geometry"]]))

    @property
    def identity(self) -> str:
        """A checksum of the contents, eight hexadecimal digits for each set."""
        return str(self.attributes["checksum"])

    def num_particles(self, split: str | None = None) -> int:
        """Count the particles of a split, or of all."""
        return len(self if split is None else self[split])


def common_voxel_cm(voxel_cm: NDArray[Any]) -> tuple[float, float, float] | None:
    """Return the edges, cm, that all voxels [n, 3] share; None if there are no such edges."""
    if not len(voxel_cm) or not np.allclose(voxel_cm, voxel_cm[0], rtol=1e-6):
        return None
    x, y, z = map(float, voxel_cm[0])
    return x, y, z


def _shards_of(
    split: str, sets: Sequence[tuple[AnyPath, Mapping[str, Any]]], ranges: RangeReader
) -> Iterator[Shard]:
    """Make the shards of a split, one set after the other."""
    first = first_source = 0
    for path, attributes in sets:
        for entry in map(ShardEntry.from_json, attributes["shards"]):
            if entry.counts.keys() != set(CLASS_NAMES):
                raise ValueError(f"{entry.name} has other classes")
            if entry.name.startswith(f"{split}/"):
                yield Shard(path, entry, first=first, first_source=first_source, ranges=ranges)
                first += entry.particles
        first_source += len(attributes.get("sources", ()))


#: A set of shards, or several: local folders and URLs.
ShardPaths: TypeAlias = str | AnyPath | Sequence[str | AnyPath]


def path_strings(paths: ShardPaths) -> tuple[str, ...]:
    """Return the path or URL of each set that is named; there may be none."""
    several = [paths] if isinstance(paths, str | AnyPath) else paths
    if not isinstance(several, Sequence) or not all(isinstance(p, str | AnyPath) for p in several):
        raise _not_paths(paths)
    return tuple(map(str, several))


def list_paths(paths: ShardPaths) -> tuple[AnyPath, ...]:
    """Return the folder of each of one or more sets that are named."""
    listed = tuple(map(as_any_path, path_strings(paths)))
    if not listed:
        raise _not_paths(paths)
    return listed


def _not_paths(found: object) -> ShardError:
    return ShardError(
        "not the path of a set of shards",
        expected="a path or a URL, or a list of them",
        found=repr(found),
    )


def open_shards(paths: ShardPaths, *, cache: RangeCache | None = None) -> Shards:
    """Open a set of shards for reading, or several as one.

    Only the metadata of the root are read, whatever the number of shards.

    Parameters
    ----------
    paths : path or URL, or a list of paths and URLs
        The folder of each set.
    cache : RangeCache, optional
        Keeps on disk what is read of remote sets; without it, every read fetches it again.

    Returns
    -------
    Shards
        All particles of the sets.

    Raises
    ------
    ShardError
        If the folder holds no shards, an unfinished conversion, another format or version, or
        damaged metadata, or if two sets have the same contents.
    """
    sets: list[tuple[AnyPath, dict[str, Any]]] = []
    for path in list_paths(paths):
        attributes = read_root_attributes(path)
        with damage_reported(path, field="zarr.json"):
            if attributes["checksum"] != attributes_checksum(attributes):
                raise ValueError("the checksum of the attributes does not hold")
        for other, others in sets:
            if others["checksum"] == attributes["checksum"]:
                raise ShardError(
                    "the same set of shards twice",
                    file=path,
                    found=f"the contents of {other}",
                    advice="name each set once",
                )
        sets.append((path, attributes))
    with damage_reported(", ".join(str(path) for path, _ in sets), field="zarr.json"):
        return Shards(*sets, cache=cache)


def read_root_attributes(path: AnyPath) -> dict[str, Any]:
    """Read the attributes of the root of a set of shards; errors as in `open_shards`."""
    _refuse_part(path)
    root = read_if_there(path / "zarr.json")
    if root is None:
        raise _why_no_root(path)
    with damage_reported(path, field="zarr.json"):
        document = json.loads(root)
        if (document["zarr_format"], document["node_type"]) != (3, "group"):
            raise ValueError("not the metadata of a Zarr group")
        attributes: dict[str, Any] = document["attributes"]
        found = (attributes.get("format"), attributes.get("version"))
    if found == (FORMAT_NAME, FORMAT_VERSION):
        return attributes
    known = found[0] == FORMAT_NAME
    again = "convert the input again, into another folder or with --overwrite"
    raise ShardError(
        "shards of another version of the format" if known else "not a set of shards",
        file=path,
        expected=f"format {FORMAT_NAME} version {FORMAT_VERSION}",
        found=f"format {found[0]} version {found[1]}",
        advice=again if known else _MAKE_SHARDS,
    )


def _why_no_root(path: AnyPath) -> ShardError:
    """Describe a folder without the metadata of a root."""
    if isinstance(path, Path) and not path.is_dir():
        what = "a file, not a folder of shards" if path.exists() else "no such folder"
        return ShardError(what, file=path, advice=_MAKE_SHARDS)
    if (path / CONVERSION_FOLDER).exists():
        return ShardError(
            "the conversion is unfinished",
            file=path,
            advice="finish it with pilarnet-convert --resume and the same options",
        )
    return ShardError("the folder holds no shards", file=path, advice=_MAKE_SHARDS)


def _refuse_part(path: AnyPath) -> None:
    """Refuse the folder of a split or of a shard, by a `ShardError`."""
    if not isinstance(path, Path) or not path.is_dir():
        return
    split, folder = path.absolute(), path.absolute().parent
    if split.name not in SPLITS:  # perhaps a shard in the folder of a split
        split, folder = folder, folder.parent
    if split.name in SPLITS and _is_root(folder):
        advice = f"name {folder}"
        raise ShardError("a part of a set of shards, not the set", file=path, advice=advice)


def _is_root(folder: Path) -> bool:
    """Return whether a folder is a set of shards."""
    try:
        attributes = json.loads((folder / "zarr.json").read_bytes())["attributes"]
        return bool(attributes["format"] == FORMAT_NAME)
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        return False
