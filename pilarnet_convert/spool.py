"""Segments: the clouds of one unit of work, on disk between decoding and packing.

A segment is a file of raw arrays for each split, so that each can be removed as soon as it is
packed, and, written last, a small report of what became of the unit's clusters. A unit is done
when its report is there.
"""

from __future__ import annotations

import errno
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.particles import Tally
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.shards.format import SPLITS, VOXEL_ARRAYS

__all__ = ["UnitReport", "join_segments", "read_report", "remove_segment", "write_segment"]


@dataclass(frozen=True, kw_only=True)
class UnitReport:
    """What is known of a finished unit: its tally, and where each split begins in its segment."""

    tally: Tally
    split_bounds: tuple[int, ...]
    process_names: tuple[str, ...]

    def num_particles(self, split: str) -> int:
        """Count the particles of a split."""
        at = SPLITS.index(split)
        return self.split_bounds[at + 1] - self.split_bounds[at]


def write_segment(
    folder: Path,
    unit: int,
    clouds: Mapping[str, NDArray[Any]],
    *,
    split_bounds: NDArray[np.int64],
    process_names: Sequence[str],
    tally: Tally,
) -> UnitReport:
    """Write the clouds of a unit, a file a split, then its report; each appears whole."""
    bounds: list[int] = split_bounds.tolist()
    for split, start, stop in zip(SPLITS, bounds[:-1], bounds[1:], strict=True):
        if start < stop:
            _write_clouds(_clouds_path(folder, unit, split), _rows(clouds, start, stop))
    document = {
        "tally": tally.to_json(),
        "split_bounds": bounds,
        "process_names": list(process_names),
    }
    with _appearing(_report_path(folder, unit)) as stream:
        stream.write(json.dumps(document).encode())
    return UnitReport(tally=tally, split_bounds=tuple(bounds), process_names=tuple(process_names))


def read_report(folder: Path, unit: int) -> UnitReport | None:
    """Read the report of a unit, or None if the unit is not done."""
    try:
        document = json.loads(_report_path(folder, unit).read_bytes())
    except FileNotFoundError:
        return None
    return UnitReport(
        tally=Tally.from_json(document["tally"]),
        split_bounds=tuple(document["split_bounds"]),
        process_names=tuple(document["process_names"]),
    )


def remove_segment(folder: Path, unit: int, split: str) -> None:
    """Remove the clouds of a unit, once every shard that holds them is written."""
    _clouds_path(folder, unit, split).unlink(missing_ok=True)


def _clouds_path(folder: Path, unit: int, split: str) -> Path:
    return folder / f"{unit:08d}.{split}"


def _report_path(folder: Path, unit: int) -> Path:
    return folder / f"{unit:08d}.json"


@contextmanager
def _appearing(path: Path) -> Iterator[BinaryIO]:
    """Open a file for writing that appears at `path` only once it is whole."""
    staging = path.with_name(f"{path.name}.{os.getpid()}")
    with staging.open("wb") as stream:
        yield stream
    os.replace(staging, path)


def _write_clouds(path: Path, clouds: Mapping[str, NDArray[Any]]) -> None:
    """Write arrays one behind the other, behind a line that tells their dtypes and shapes."""
    layout = {name: [values.dtype.str, values.shape] for name, values in clouds.items()}
    with _appearing(path) as stream:
        stream.write(json.dumps(layout).encode() + b"\n")
        for values in clouds.values():
            stream.write(np.ascontiguousarray(values).data)


def _read_clouds(path: Path) -> dict[str, NDArray[Any]]:
    content = path.read_bytes()
    position = content.index(b"\n") + 1
    clouds = {}
    for name, (dtype, shape) in json.loads(content[:position]).items():
        count = math.prod(shape)
        clouds[name] = np.frombuffer(content, dtype, count, position).reshape(shape)
        position += clouds[name].nbytes
    return clouds


def _rows(clouds: Mapping[str, NDArray[Any]], start: int, stop: int) -> dict[str, NDArray[Any]]:
    """Take the particles ``start`` to ``stop`` out of clouds; ``offset`` begins at 0 again."""
    offset = clouds["offset"][start : stop + 1]
    rows = {
        name: values[offset[0] : offset[-1]] if name in VOXEL_ARRAYS else values[start:stop]
        for name, values in clouds.items()
    }
    return {**rows, "offset": offset - offset[0]}


def join_segments(
    folder: Path, split: str, parts: Sequence[tuple[int, int, int]]
) -> tuple[dict[str, NDArray[Any]], list[str]]:
    """Join ranges of particles of one split into the columns of a shard.

    Parameters
    ----------
    folder : Path
        The folder of the segments.
    split : str
        The split.
    parts : sequence of (unit, start, stop)
        Ranges of particles, in order.

    Returns
    -------
    columns : dict of str to array
        The arrays of the shard.
    process_names : list of str
        What ``process`` indexes, in the order of first appearance.
    """
    codes: dict[str, int] = {}
    pieces: list[dict[str, NDArray[Any]]] = []
    for unit, start, stop in parts:
        report = read_report(folder, unit)
        if report is None:
            raise FileNotFoundError(errno.ENOENT, "a segment is gone", _report_path(folder, unit))
        names = report.process_names
        piece = _rows(_read_clouds(_clouds_path(folder, unit, split)), start, stop)
        used, local = np.unique(piece["process"], return_inverse=True)
        _, first = np.unique(local, return_index=True)
        for code in used[np.argsort(first)]:
            codes.setdefault(names[code], len(codes))
        table = np.array([codes[names[code]] for code in used], np.uint8)
        piece["process"] = table[local]
        pieces.append(piece)
    counts = np.concatenate([np.diff(piece["offset"]) for piece in pieces])
    columns = {
        name: np.concatenate([piece[name] for piece in pieces])
        for name in pieces[0]
        if name != "offset"
    }
    columns["offset"] = offsets_of(counts)
    return columns, list(codes)
