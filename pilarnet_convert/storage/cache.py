"""Ranges of remote files: kept on disk in a folder of bounded size, and fetched together."""

from __future__ import annotations

import hashlib
import os
import threading
import zlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import groupby
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import urlsplit
from uuid import uuid4

from pilarnet_convert.files import remove_file, replace_file

__all__ = ["FileRange", "RangeCache", "RangeReader", "RangeStream"]

_CHECK_BYTES: Final = 4


class FileRange(NamedTuple):
    """Bytes of a remote file; `version` differs between files that had the same URL."""

    url: str
    version: str
    start: int
    stop: int


class RangeCache:
    """Ranges of remote files, kept in a folder.

    When the folder grows too large, those that were not used for the longest time are removed.
    Several processes may use the folder; it may then be temporarily larger, by a 16th for each.
    Damaged ranges are fetched again.

    Parameters
    ----------
    folder : Path
        Made if it does not exist. Only files that a cache wrote are removed from it.
    most_bytes : int
        How large the folder may be.
    """

    def __init__(self, folder: Path, *, most_bytes: int) -> None:
        self.folder, self.most_bytes = folder / "ranges", most_bytes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._bytes_left = 0  # to write before the sizes in the folder are added up again

    def _path(self, wanted: FileRange) -> Path:
        name = hashlib.sha256(repr(wanted).encode()).hexdigest()[:32]
        return self.folder / name[:2] / name

    def get(self, wanted: FileRange) -> bytes | None:
        """Return a range, or None if it is not in the folder."""
        path = self._path(wanted)
        try:
            content = path.read_bytes()
            os.utime(path)
        except OSError:
            return None
        data, check = content[:-_CHECK_BYTES], content[-_CHECK_BYTES:]
        return data if _checksum(data) == check else None

    def put(self, wanted: FileRange, data: bytes) -> None:
        """Keep a range, if there is room on the disk."""
        content = data + _checksum(data)
        self._bytes_left -= len(content)
        if self._bytes_left < 0:
            self._make_room()
        path = self._path(wanted)
        with suppress(OSError):
            path.parent.mkdir(exist_ok=True)
            replace_file(path, content, beside=path.with_name(f".{uuid4().hex}"))

    def _make_room(self) -> None:
        step = self.most_bytes // 16
        found: list[tuple[float, int, Path]] = []
        for path in self.folder.glob("??/*"):
            with suppress(OSError):
                state = path.stat()
                found.append((state.st_mtime, state.st_size, path))
        size = sum(num_bytes for _, num_bytes, _ in found)
        for _, num_bytes, path in sorted(found):
            if size + step <= self.most_bytes:
                break
            with suppress(OSError):
                remove_file(path)
            size -= num_bytes
        self._bytes_left = step


def _checksum(data: bytes) -> bytes:
    return zlib.crc32(data).to_bytes(_CHECK_BYTES, "little")


class RangeReader:
    """Reads ranges of remote files, from what was fetched, from the cache, or from the store."""

    def __init__(self, cache: RangeCache | None = None) -> None:
        self._cache = cache
        self._local = threading.local()

    @contextmanager
    def holding(self) -> Iterator[None]:
        """Hold in memory what `fetch` fetches in this thread, until the end of the block."""
        self._local.held = {}
        try:
            yield
        finally:
            del self._local.held

    @property
    def is_holding(self) -> bool:
        """Whether what is fetched in this thread is held."""
        return hasattr(self._local, "held")

    def fetch(self, ranges: Sequence[FileRange]) -> None:
        """Fetch ranges together; adjacent ones in one request."""
        missing = []
        for wanted in dict.fromkeys(ranges):
            if wanted in self._local.held:
                continue
            data = None if self._cache is None else self._cache.get(wanted)
            if data is None:
                missing.append(wanted)
            else:
                self._local.held[wanted] = data
        for _, of_store in groupby(sorted(missing), lambda wanted: urlsplit(wanted.url)[:2]):
            self._local.held |= self._request(list(of_store))

    def read(self, wanted: FileRange) -> bytes:
        """Read a range."""
        data: bytes | None = getattr(self._local, "held", {}).get(wanted)
        if data is None and self._cache is not None:
            data = self._cache.get(wanted)
        return self._request([wanted])[wanted] if data is None else data

    def _request(self, ranges: Sequence[FileRange]) -> dict[FileRange, bytes]:
        """Read ranges of files, ascending and all of one store, from the store."""
        from pilarnet_convert.storage.connection import read_many

        runs: list[list[FileRange]] = []
        for wanted in ranges:
            if runs and runs[-1][-1][:2] == wanted[:2] and runs[-1][-1].stop == wanted.start:
                runs[-1].append(wanted)
            else:
                runs.append([wanted])
        answers = read_many([(run[0].url, run[0].start, run[-1].stop) for run in runs])
        found = {
            wanted: answer[wanted.start - run[0].start : wanted.stop - run[0].start]
            for run, answer in zip(runs, answers, strict=True)
            for wanted in run
        }
        if self._cache is not None:
            for wanted, data in found.items():
                self._cache.put(wanted, data)
        return found


class RangeStream:
    """A remote file as a stream that requests exactly the ranges that are read.

    If `small` is True, the file is read as a whole.
    """

    def __init__(self, file: FileRange, *, small: bool, reader: RangeReader) -> None:
        self._file, self._small, self._reader = file, small, reader
        self._position = 0

    def __enter__(self) -> RangeStream:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position and return it."""
        self._position = offset + (self._file.stop if whence == os.SEEK_END else 0)
        return self._position

    def read(self, num_bytes: int = -1) -> bytes:
        """Read `num_bytes` bytes, or all to the end if it is negative."""
        start, size = self._position, self._file.stop
        self._position = size if num_bytes < 0 else min(start + num_bytes, size)
        if self._small:
            return self._reader.read(self._file)[start : self._position]
        return self._reader.read(self._file._replace(start=start, stop=self._position))
