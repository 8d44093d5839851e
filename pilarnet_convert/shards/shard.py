"""One shard of a set: reading blocks of its particles."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import ShardError, brief, counted
from pilarnet_convert.shards.array import SHARD_FILES, ArrayFile, count_chunks, index_bytes
from pilarnet_convert.shards.fetch import ShardRead, fetched
from pilarnet_convert.shards.format import (
    ARRAYS,
    VOXEL_ARRAYS,
    FileCheck,
    ShardEntry,
)
from pilarnet_convert.shards.particle import ParticleSequence
from pilarnet_convert.storage.byte_file import file_sizes
from pilarnet_convert.storage.cache import FileRange, RangeReader, RangeStream
from pilarnet_convert.storage.remote import AnyPath, RemotePath

__all__ = ["Shard", "damage_reported"]

_CONVERT_AGAIN = "convert again with --overwrite"


class Shard(ParticleSequence):
    """One shard: the sequence of its particles, and its arrays in blocks of consecutive particles.

    Attributes
    ----------
    path : Path or RemotePath
        The folder of the shard.
    name : str
        Its path in the set, such as ``"train/00012"``.
    split : str
        Its split.
    first : int
        The number of particles of the split in the shards before this one.
    entry : ShardEntry
        What the root says of it.
    num_particles, num_voxels : int
        Its size.
    counts : mapping of str to int
        The number of particles of each class.
    first_source : int
        Where the sources of its set begin among those of all sets that are open together; added
        to ``source``.
    ranges : RangeReader
        Reads the bytes of a remote shard.
    """

    def __init__(
        self,
        root: AnyPath,
        entry: ShardEntry,
        *,
        first: int = 0,
        first_source: int = 0,
        ranges: RangeReader | None = None,
    ) -> None:
        super().__init__((self,))
        self.first = first
        self.path = root / entry.name
        self.entry = entry
        self.split = entry.split
        self.first_source, self.ranges = first_source, ranges or RangeReader()
        self.name = entry.name
        self.num_particles, self.num_voxels = entry.particles, entry.voxels
        self.counts = entry.counts
        self._files: dict[str, ArrayFile] = {}

    def __repr__(self) -> str:
        voxels = counted(self.num_voxels, "voxel")
        return f"<Shard {self.name}: {counted(self.num_particles, 'particle')}, {voxels}>"

    def is_whole(self) -> bool:
        """Return whether every file has its size and, on a local disk, its checksum."""
        if isinstance(self.path, Path):
            try:
                return all(
                    FileCheck.of((self.path / file).read_bytes()) == self.entry.files[name]
                    for name, file in SHARD_FILES.items()
                )
            except OSError:
                return False
        sizes = file_sizes(self.path)
        return all(
            sizes.get(str(file)) == self.entry.files[name].size
            for name, file in SHARD_FILES.items()
        )

    @cached_property
    def process_names(self) -> tuple[str, ...]:
        """The names that the values of ``process`` index."""
        with damage_reported(self.path, field="zarr.json"):
            data = (self.path / "zarr.json").read_bytes()
            if FileCheck.of(data) != self.entry.files["zarr.json"]:
                raise ValueError("the checksum of the file does not hold")
            document = json.loads(data)
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

        Both count as in a slice: from the end if negative, and cut to the particles there are.

        Returns
        -------
        dict of str to array
            A row for each particle, or for ``x``, ``y``, ``z`` and ``energy`` for each of their
            voxels; ``offset`` begins at 0 and has one row more.

        Raises
        ------
        ShardError
            If there is no array of a name, a data file is missing, or its size or a checksum is
            wrong.
        """
        if isinstance(names, str):
            names = (names,)
        for name in names:
            if name not in ARRAYS:
                raise ShardError(
                    "no such array", file=self.path, expected=", ".join(ARRAYS), found=name
                )
        start, stop, _ = slice(start, stop).indices(self.num_particles)
        stop = max(start, stop)
        with fetched([ShardRead(self, names, start, stop)]):
            return self._read(names, start, stop)

    def _read(self, names: Sequence[str], start: int, stop: int) -> dict[str, NDArray[Any]]:
        first, last = int(self.offset[start]), int(self.offset[stop])
        arrays: dict[str, NDArray[Any]] = {}
        for name in names:
            if name == "offset":
                arrays[name] = self.offset[start : stop + 1] - first
            elif name in VOXEL_ARRAYS:
                arrays[name] = self._rows(name, first, last)
            else:
                arrays[name] = self._rows(name, start, stop)
        if "source" in arrays:
            arrays["source"] += np.int32(self.first_source)
        return arrays

    def read_voxels(self, out: Mapping[str, NDArray[Any]], start: int, stop: int) -> None:
        """Fill arrays with the voxels of the particles ``start`` to ``stop``, end excluded.

        Parameters
        ----------
        out : mapping of str to array
            Some of ``x``, ``y``, ``z``, ``energy``, with the dtypes of the format and a row for
            each voxel.

        Raises
        ------
        ShardError
            As for `read`.
        """
        first = int(self.offset[start])
        with fetched([ShardRead(self, tuple(out), start, stop)]):
            for name, rows in out.items():
                with damage_reported(self.path, field=name):
                    self._file(name).read_into(rows, first)

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        with damage_reported(self.path, field=name):
            return self._file(name)[start:stop]

    def _file(self, name: str) -> ArrayFile:
        if name not in self._files:
            self._files[name] = ArrayFile(
                partial(self._open, name),
                shape=self.entry.shape(name),
                dtype=ARRAYS[name].dtype,
                check=self.entry.files[name],
            )
        return self._files[name]

    def _open(self, name: str) -> Any:
        path = self.path / SHARD_FILES[name]
        if isinstance(path, Path):
            return path.open("rb")
        small = count_chunks(self.entry.shape(name)[0]) == 1
        return RangeStream(self._range(name), small=small, reader=self.ranges)

    @property
    def is_remote(self) -> bool:
        """Whether the shard is in a remote store."""
        return isinstance(self.path, RemotePath)

    def _range(self, name: str) -> FileRange:
        check = self.entry.files[name]
        url = str(self.path / SHARD_FILES[name])
        return FileRange(url, f"{check.size}-{check.crc32:08x}", 0, check.size)

    def opening_ranges(self, names: Sequence[str]) -> Iterator[FileRange]:
        """Return the ranges that are read before any rows: of a small array, the whole file."""
        for name in dict.fromkeys(("offset", *names)):
            whole, num_chunks = self._range(name), count_chunks(self.entry.shape(name)[0])
            if num_chunks == 1 and not (name == "offset" and "offset" in vars(self)):
                yield whole
            elif name not in self._files:
                yield whole._replace(start=whole.stop - index_bytes(num_chunks))

    def chunk_ranges(self, names: Sequence[str], start: int, stop: int) -> Iterator[FileRange]:
        """Return the ranges of larger arrays that hold the particles `start` to `stop`."""
        for name in names:
            if count_chunks(self.entry.shape(name)[0]) > 1 and name != "offset":
                rows = (start, stop)
                if name in VOXEL_ARRAYS:
                    rows = (int(self.offset[start]), int(self.offset[stop]))
                for first, last in self._file(name).chunks(*rows):
                    yield self._range(name)._replace(start=first, stop=last)


@contextmanager
def damage_reported(path: object, *, field: str) -> Iterator[None]:
    """Turn the errors that damaged files cause into a `ShardError`."""
    try:
        yield
    except (
        KeyError,
        TypeError,
        ValueError,
        RuntimeError,
        OSError,
        AttributeError,
        ArithmeticError,
    ) as error:
        raise ShardError(
            "missing or damaged",
            file=path,
            field=field,
            found=brief(error),
            advice=f"see pilarnet-stats --verify; {_CONVERT_AGAIN}",
        ) from error
