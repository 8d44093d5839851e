"""A file of which ranges of bytes are read, local or remote."""

from __future__ import annotations

import errno
import os
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import InputError, MissingError, RemoteError, while_reading
from pilarnet_convert.storage.ranges import Range, merge_ranges
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path
from pilarnet_convert.storage.seekable import SeekableReader

__all__ = [
    "LocalFile",
    "RemoteFile",
    "file_sizes",
    "head_in_words",
    "open_file",
    "read_head",
    "read_if_there",
]

#: Bytes that a small read of a remote file fetches, because the next is often nearby.
_READ_AHEAD: Final = 16_384


class LocalFile:
    """A local file.

    Parameters
    ----------
    path : Path
        The file.

    Raises
    ------
    OSError
        If it cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        if path.is_fifo():  # opening it would wait for its writer
            raise OSError(errno.ESPIPE, "a pipe, not a file", str(path))
        self._descriptor = os.open(path, os.O_RDONLY)

    def __enter__(self) -> LocalFile:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return os.fstat(self._descriptor).st_size

    def read_at(self, position: int, num_bytes: int) -> bytes:
        """Read `num_bytes` bytes from `position` on, fewer at the end of the file."""
        return os.pread(self._descriptor, num_bytes, position)

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)


class RemoteFile(SeekableReader):
    """A file of a remote store; also a binary stream, for libraries that read one.

    Parameters
    ----------
    path : RemotePath
        The file.

    Raises
    ------
    RemoteError
        By every method that reads, if the file cannot be read.
    """

    def __init__(self, path: RemotePath) -> None:
        super().__init__()
        self.path = path
        self._starts: list[int] = []
        self._held: list[bytes] = []

    @cached_property
    def size(self) -> int:
        """The size of the file in bytes; `RemoteError` if its server does not serve ranges."""
        return self.path.size()

    def read_at(self, position: int, num_bytes: int) -> bytes:
        """Read `num_bytes` bytes, from memory if they were fetched before."""
        pieces = []
        while num_bytes > 0:
            number = bisect_right(self._starts, position) - 1
            offset = position - self._starts[number] if number >= 0 else 0
            if number < 0 or offset >= len(self._held[number]):
                stop = min(position + max(num_bytes, _READ_AHEAD), self.size)
                stop = min([stop, *self._starts[number + 1 : number + 2]])
                if stop <= position:
                    break
                self._hold(position, self.path.read_ranges([(position, stop)])[0])
                continue
            pieces.append(self._held[number][offset : offset + num_bytes])
            position += len(pieces[-1])
            num_bytes -= len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _hold(self, start: int, data: bytes) -> None:
        number = bisect_right(self._starts, start)
        self._starts.insert(number, start)
        self._held.insert(number, data)

    def prefetch(self, ranges: Iterable[Range]) -> None:
        """Fetch ranges that will be read, in few requests; what was fetched before is dropped."""
        requests = merge_ranges(ranges)
        self._held = self.path.read_ranges(requests)
        self._starts = [start for start, _ in requests]

    def check_unchanged(self, head: bytes) -> None:
        """Check that the file still begins with these bytes.

        Raises
        ------
        RemoteError
            If it does not.
        """
        if self.path.read_ranges([(0, len(head))])[0] != head:
            raise RemoteError(
                "the file changed while it was read",
                file=self.path,
                advice="wait until it is written, and begin anew with --overwrite",
            )


def open_file(path: str | AnyPath) -> LocalFile | RemoteFile:
    """Open a file for reading.

    Raises
    ------
    InputError
        If a local file cannot be opened. A remote file is opened by the first read.
    """
    where = as_any_path(path)
    with _faults_as_input_errors(where):
        return RemoteFile(where) if isinstance(where, RemotePath) else LocalFile(where)


@contextmanager
def _faults_as_input_errors(path: AnyPath) -> Iterator[None]:
    """Turn the errors of the system and of remote files into one that names the file."""
    try:
        yield
    except OSError as error:
        raise InputError(
            "cannot be opened", file=path, found=error.strerror, advice="check the path"
        ) from error
    except RemoteError as error:
        raise while_reading(error) from error


def head_in_words(head: bytes, *, size: int) -> str:
    """Describe the size and the first bytes of a file, both from `read_head`, for messages."""
    return f"{size} bytes that begin with {repr(head[:4])[1:]}" if head else "an empty file"


def read_head(path: AnyPath, num_bytes: int) -> tuple[bytes, int]:
    """Read the first bytes of a file, and its size.

    Returns
    -------
    head : bytes
        The first `num_bytes` bytes; the whole file if it is smaller.
    size : int
        The size of the file in bytes.

    Raises
    ------
    InputError
        If it cannot be read.
    ConnectionFault
        If the connection to its store fails for good.
    """
    with _faults_as_input_errors(path), open_file(path) as file:
        size = file.size  # first, as it refuses servers that send whole files
        return file.read_at(0, num_bytes), size


def read_if_there(path: AnyPath) -> bytes | None:
    """Read a whole, small file; None if it does not exist."""
    try:
        return path.read_bytes()
    except (MissingError, FileNotFoundError, NotADirectoryError):
        return None


def file_sizes(folder: AnyPath) -> dict[str, int]:
    """Return the size of each file under a folder by its path from there."""
    if isinstance(folder, RemotePath):
        return folder.sizes()
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.stat().st_size for path in files}
