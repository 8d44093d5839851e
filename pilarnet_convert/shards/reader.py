"""Opening a set of shards, and reading blocks of particles from it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from html import escape
from pathlib import Path
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards.array import SHARD_FILES, ArrayFile
from pilarnet_convert.shards.format import (
    ARRAYS,
    FORMAT_NAME,
    FORMAT_VERSION,
    SPLITS,
    VOXEL_ARRAYS,
    ShardEntry,
)
from pilarnet_convert.shards.particle import ParticleSequence

__all__ = ["Shard", "Shards", "open_shards", "read_root_attributes"]

_CONVERT_AGAIN = "convert again with --overwrite"


class Shard(ParticleSequence):
    """One shard: its arrays in blocks of consecutive particles, and a sequence of these.

    Attributes
    ----------
    path : Path
        The folder of the shard.
    name : str
        Its place in the set, such as ``"train/00012"``.
    split : str
        Its split.
    first : int
        Particles of the split in the shards before this one.
    entry : ShardEntry
        What the root says of it; `num_particles`, `num_voxels` and `counts` repeat its size and
        the particles of each class.
    """

    def __init__(self, root: Path, entry: ShardEntry, *, first: int = 0) -> None:
        super().__init__((self,))
        self.first = first
        self.path = root / entry.name
        self.entry = entry
        self.name = entry.name
        self.split = entry.name.split("/")[0]
        self.num_particles, self.num_voxels = entry.particles, entry.voxels
        self.counts = entry.counts
        self._files: dict[str, ArrayFile] = {}

    def __repr__(self) -> str:
        return f"<Shard {self.name}: {self.num_particles} particles, {self.num_voxels} voxels>"

    def is_whole(self) -> bool:
        """Tell whether every file is there and has its size."""
        try:
            return all(
                (self.path / file).stat().st_size == self.entry.files[name].size
                for name, file in SHARD_FILES.items()
            )
        except OSError:
            return False

    @cached_property
    def process_names(self) -> tuple[str, ...]:
        """What the values of ``process`` index."""
        with _damage_reported(self.path, field="zarr.json"):
            document = json.loads((self.path / "zarr.json").read_bytes())
            return tuple(document["attributes"]["process_names"])

    @cached_property
    def offset(self) -> NDArray[np.int64]:
        """Where the voxels of each particle begin, int64 [num_particles + 1]."""
        offset: NDArray[np.int64] = self._rows("offset", 0, self.num_particles + 1)
        if offset[0] != 0 or offset[-1] != self.num_voxels or np.any(np.diff(offset) < 0):
            raise ShardError(
                "the offsets do not describe the voxels",
                file=self.path,
                field="offset",
                expected=f"ascending from 0 to {self.num_voxels}",
                found=f"from {offset[0]} to {offset[-1]}",
                advice=_CONVERT_AGAIN,
            )
        return offset

    def read(
        self, names: Sequence[str] = tuple(ARRAYS), start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Read arrays of the particles ``start`` to ``stop``, end excluded; all by default.

        Returns
        -------
        dict of str to array
            A row for each particle, or for ``x``, ``y``, ``z`` and ``energy`` for each of their
            voxels; ``offset`` begins at 0 and has one row more.

        Raises
        ------
        ShardError
            If a data file is missing, or its size or a checksum is wrong.
        """
        stop = self.num_particles if stop is None else min(stop, self.num_particles)
        first, last = int(self.offset[start]), int(self.offset[stop])
        arrays: dict[str, NDArray[Any]] = {}
        for name in names:
            if name == "offset":
                arrays[name] = self.offset[start : stop + 1] - first
            elif name in VOXEL_ARRAYS:
                arrays[name] = self._rows(name, first, last)
            else:
                arrays[name] = self._rows(name, start, stop)
        return arrays

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        with _damage_reported(self.path, field=name):
            if name not in self._files:
                self._files[name] = ArrayFile(
                    partial(_open, self.path / SHARD_FILES[name]),
                    shape=self.entry.shape(name),
                    dtype=ARRAYS[name].dtype,
                    check=self.entry.files[name],
                )
            return self._files[name][start:stop]


def _open(path: Path) -> BinaryIO:
    return path.open("rb")


class Shards(ParticleSequence):
    """A set of shards: a sequence of all particles, ``shards["test"]`` of those of a split.

    Attributes
    ----------
    path : Path
        The folder.
    attributes : mapping
        The attributes of the root group: sources, options, statistics.
    splits : mapping of str to tuple of Shard
        The shards of ``train``, ``val`` and ``test``, in order; a tuple may be empty.
    """

    def __init__(self, path: Path, attributes: Mapping[str, Any]) -> None:
        self.path = path
        self.attributes = MappingProxyType(dict(attributes))
        entries = [ShardEntry.from_json(entry) for entry in attributes["shards"]]
        self.splits: Mapping[str, tuple[Shard, ...]] = MappingProxyType(
            {split: tuple(_shards_of(split, path, entries)) for split in SPLITS}
        )
        super().__init__([shard for split in SPLITS for shard in self.splits[split]])

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {self.num_particles(split)}" for split in SPLITS)
        return f"<Shards {self.path}: {sizes} particles>"

    def _repr_html_(self) -> str:
        from pilarnet_convert.shards.frames import class_counts  # imports pandas

        return f"<p>{escape(repr(self))}</p>{class_counts(self).to_html()}"

    def __getitem__(self, index: Any) -> Any:
        """Read a particle, or a list of those of a slice; or give the particles of a split.

        Raises
        ------
        ShardError
            If a split is asked for that does not exist.
        """
        if not isinstance(index, str):
            return super().__getitem__(index)
        if index not in self.splits:
            raise ShardError(
                "no such split", file=self.path, expected=", ".join(SPLITS), found=index
            )
        return ParticleSequence(self.splits[index])

    @property
    def identity(self) -> str:
        """A checksum that differs between sets of other contents, eight hexadecimal digits."""
        return str(self.attributes["checksum"])

    def num_particles(self, split: str | None = None) -> int:
        """Count the particles of a split, or of all."""
        chosen = SPLITS if split is None else (split,)
        return sum(shard.num_particles for s in chosen for shard in self.splits[s])


def _shards_of(split: str, path: Path, entries: Sequence[ShardEntry]) -> Iterator[Shard]:
    """Make the shards of a split."""
    first = 0
    for entry in entries:
        if entry.name.startswith(f"{split}/"):
            yield Shard(path, entry, first=first)
            first += entry.particles


def open_shards(path: str | Path) -> Shards:
    """Open a set of shards for reading.

    Only the metadata of the root are read, whatever the number of shards.

    Raises
    ------
    ShardError
        If the folder holds no shards, an unfinished conversion, another format or version, or
        damaged metadata.
    """
    path = Path(path)
    attributes = read_root_attributes(path)
    with _damage_reported(path, field="zarr.json"):
        return Shards(path, attributes)


def read_root_attributes(path: Path) -> dict[str, Any]:
    """Read the attributes of the root of a set of shards; errors as in `open_shards`."""
    advice = "make shards with pilarnet-convert --input FILES --out shards/"
    if not path.is_dir():
        raise ShardError("no such folder", file=path, advice=advice)
    if not (path / "zarr.json").is_file():
        if (path / ".conversion").is_dir():
            raise ShardError(
                "the conversion is unfinished",
                file=path,
                advice="finish it with pilarnet-convert --resume and the same options",
            )
        raise ShardError("the folder holds no shards", file=path, advice=advice)
    with _damage_reported(path, field="zarr.json"):
        attributes: dict[str, Any] = json.loads((path / "zarr.json").read_bytes())["attributes"]
        found = (attributes.get("format"), attributes.get("version"))
    if found != (FORMAT_NAME, FORMAT_VERSION):
        known = found[0] == FORMAT_NAME
        raise ShardError(
            "shards of another version of the format" if known else "not a set of shards",
            file=path,
            expected=f"format {FORMAT_NAME} version {FORMAT_VERSION}",
            found=f"format {found[0]} version {found[1]}",
            advice="convert the input again, into another folder or with --overwrite"
            if known
            else advice,
        )
    return attributes


@contextmanager
def _damage_reported(path: Path, *, field: str) -> Iterator[None]:
    """Turn what reading damaged files raises into a `ShardError`."""
    try:
        yield
    except (KeyError, TypeError, ValueError, RuntimeError, OSError, AttributeError) as error:
        raise ShardError(
            "missing or damaged",
            file=path,
            field=field,
            found=f"{type(error).__name__}: {error}",
            advice=f"see pilarnet-stats --verify; {_CONVERT_AGAIN}",
        ) from error
