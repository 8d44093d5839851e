"""Shards on disk: opening and reading a set of them.

A set of shards is a Zarr v3 hierarchy: a root group with the attributes of the conversion, a
group a split, a group a shard. This is the only module that knows zarr-python.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import zarr
from numpy.typing import NDArray
from zarr.errors import BaseZarrError

from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards.format import (
    FORMAT_NAME,
    FORMAT_VERSION,
    PARTICLE_ARRAYS,
    SPLITS,
    VOXEL_ARRAYS,
)
from pilarnet_convert.shards.packedrows import PackedRows

__all__ = [
    "Shard",
    "Shards",
    "open_shard_attributes",
    "open_shards",
]

ARRAYS = MappingProxyType({**VOXEL_ARRAYS, **PARTICLE_ARRAYS})


class Shard:
    """One shard, read in blocks of consecutive particles.

    Attributes
    ----------
    path : Path
        The folder of the shard.
    name : str
        Its place in the set, e.g. ``"train/00000"``.
    num_particles, num_voxels : int
        Its size.
    counts : dict of str to int
        Particles of each class.
    process_names : tuple of str
        What the values of ``process`` index.
    """

    def __init__(self, root: Path, name: str) -> None:
        self.path = root / name
        self.name = name
        with _damage_reported(self.path):
            self._group = zarr.open_group(self.path, mode="r", zarr_format=3)
            attributes: dict[str, Any] = dict(self._group.attrs)
            self.num_particles = int(attributes["num_particles"])
            self.num_voxels = int(attributes["num_voxels"])
            self.counts: dict[str, int] = dict(attributes["counts"])
            self.process_names = tuple(attributes["process_names"])
        self._arrays: dict[str, PackedRows | zarr.Array[Any]] = {}

    def __repr__(self) -> str:
        return f"<Shard {self.name}: {self.num_particles} particles, {self.num_voxels} voxels>"

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
                advice="convert again with --overwrite",
            )
        return offset

    def read(
        self, names: Sequence[str] = tuple(ARRAYS), start: int = 0, stop: int | None = None
    ) -> dict[str, NDArray[Any]]:
        """Read arrays of the particles ``start`` to ``stop``, end excluded.

        Parameters
        ----------
        names : sequence of str
            Arrays of the format; all of them by default.
        start, stop : int
            Particles of this shard; to the end by default.

        Returns
        -------
        dict of str to array
            A row a particle, or a row a voxel of these particles for ``x``, ``y``, ``z`` and
            ``energy``; ``offset`` begins at 0 and has one row more.

        Raises
        ------
        ShardError
            If an array is missing or its checksum does not hold.
        """
        stop = self.num_particles if stop is None else min(stop, self.num_particles)
        first, last = int(self.offset[start]), int(self.offset[stop])
        columns: dict[str, NDArray[Any]] = {}
        for name in names:
            if name == "offset":
                columns[name] = self.offset[start : stop + 1] - first
            elif name in VOXEL_ARRAYS:
                columns[name] = self._rows(name, first, last)
            else:
                columns[name] = self._rows(name, start, stop)
        return columns

    def read_whole(self, name: str) -> NDArray[Any]:
        """Read one array as it is stored, whatever its shape."""
        with _damage_reported(self.path, field=name):
            values: NDArray[Any] = self._group[name][...]  # type: ignore[index, assignment]
        return values

    def _rows(self, name: str, start: int, stop: int) -> NDArray[Any]:
        with _damage_reported(self.path, field=name):
            if name not in self._arrays:
                packed = PackedRows.open(self.path / name)
                self._arrays[name] = self._group[name] if packed is None else packed  # type: ignore[assignment]
            values: NDArray[Any] = self._arrays[name][start:stop]  # type: ignore[assignment]
        if len(values) != stop - start:
            raise ShardError(
                "the array is shorter than the shard",
                file=self.path,
                field=name,
                expected=f"at least {stop} rows",
                found=f"{start + len(values)}",
                advice="convert again with --overwrite",
            )
        return values


class Shards:
    """A set of shards.

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
        self.splits: Mapping[str, tuple[Shard, ...]] = MappingProxyType(
            {
                split: tuple(
                    Shard(path, name)
                    for name in self.attributes["shards"]
                    if name.split("/")[0] == split
                )
                for split in SPLITS
            }
        )

    def __repr__(self) -> str:
        sizes = ", ".join(f"{split} {self.num_particles(split)}" for split in SPLITS)
        return f"<Shards {self.path}: {sizes} particles>"

    def num_particles(self, split: str | None = None) -> int:
        """Count the particles of a split, or of all."""
        chosen = SPLITS if split is None else (split,)
        return sum(shard.num_particles for s in chosen for shard in self.splits[s])


def open_shards(path: str | Path) -> Shards:
    """Open a set of shards for reading.

    Parameters
    ----------
    path : str or Path
        What ``pilarnet-convert --out`` made.

    Returns
    -------
    Shards

    Raises
    ------
    ShardError
        If the folder holds no shards, an unfinished conversion, another format or version, or
        damaged metadata.
    """
    path = Path(path)
    attributes = open_shard_attributes(path)
    with _damage_reported(path, field="zarr.json"):
        return Shards(path, attributes)


def open_shard_attributes(path: Path) -> dict[str, Any]:
    """Read the attributes of the root group alone; errors as in `open_shards`."""
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
        attributes: dict[str, Any] = dict(zarr.open_group(path, mode="r", zarr_format=3).attrs)
    found = (attributes.get("format"), attributes.get("version"))
    if found != (FORMAT_NAME, FORMAT_VERSION):
        raise ShardError(
            "not shards that this version reads",
            file=path,
            expected=f"format {FORMAT_NAME} version {FORMAT_VERSION}",
            found=f"format {found[0]} version {found[1]}",
            advice=advice,
        )
    return attributes


class _damage_reported:
    """Turn what zarr-python, its codecs or the file system say into a `ShardError`."""

    def __init__(self, path: Path, *, field: str | None = None) -> None:
        self.path, self.field = path, field

    def __enter__(self) -> None:
        return None

    def __exit__(self, _kind: object, error: BaseException | None, _trace: object) -> None:
        damage = (BaseZarrError, KeyError, TypeError, ValueError, RuntimeError, OSError)
        if isinstance(error, damage) and not isinstance(error, ShardError):
            raise ShardError(
                "missing or damaged",
                file=self.path,
                field=self.field,
                found=f"{type(error).__name__}: {error}",
                advice="see pilarnet-stats --verify; convert again with --overwrite",
            ) from error
