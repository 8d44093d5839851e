"""A remote file as a stream that reads ahead, for libraries that need a stream."""

from __future__ import annotations

from concurrent.futures import Future
from copy import copy
from dataclasses import dataclass
from typing import Final

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.storage.ahead import ThreadPerCall
from pilarnet_convert.storage.remote import RemotePath
from pilarnet_convert.storage.seekable import SeekableReader

__all__ = ["RemoteStream"]

#: Bytes of the first fetch at a new place, and of the largest.
_FIRST_BYTES: Final = 65_536
_MOST_BYTES: Final = 4_194_304
#: The most bytes of a file that are held; those not used for the longest time are dropped.
_HELD_BYTES: Final = 33_554_432


@dataclass(frozen=True)
class _Span:
    """Bytes that were fetched or are being fetched.

    `follows` is True if they were fetched because the bytes before them were read.
    """

    start: int
    stop: int
    follows: bool
    data: Future[bytes | PilarnetError]

    @property
    def num_bytes(self) -> int:
        return self.stop - self.start


class RemoteStream(SeekableReader):
    """A file of a remote store as a binary stream.

    Bytes that are read one after the other, or nearly so, are fetched in spans that double in size,
    each while the one before is used. This may happen at several places of a file.

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
        self._size = path.size()
        self._spans: list[_Span] = []  # those used last at the end

    def __repr__(self) -> str:
        return str(self.path)  # by which h5py names the file

    def close(self) -> None:
        """Drop what is held."""
        self._spans.clear()
        super().close()

    @property
    def size(self) -> int:
        """The size of the file in bytes."""
        return self._size

    def read_at(self, position: int, num_bytes: int) -> bytes:
        """Read `num_bytes` bytes from `position` on, fewer at the end of the file."""
        stop = min(position + num_bytes, self._size)
        pieces = []
        while position < stop:
            span = self._span_at(position)
            data = span.data.result()
            if isinstance(data, PilarnetError):
                self._spans.remove(span)
                raise data
            pieces.append(data[position - span.start : stop - span.start])
            position += len(pieces[-1])
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _span_at(self, position: int) -> _Span:
        """Return the span that holds a position, and fetch the one after it."""
        found = [span for span in self._spans if span.start <= position < span.stop]
        if found:
            span = found[0]
            self._spans.remove(span)
        else:
            behind = [s for s in self._spans if 0 <= position - s.stop < s.num_bytes]
            span = self._fetch(position, max(behind, key=lambda s: s.stop, default=None))
        comes = span.stop == self._size or any(s.start <= span.stop < s.stop for s in self._spans)
        if span.follows and not comes:
            self._spans.append(self._fetch(span.stop, span))
        self._spans.append(span)
        while sum(s.num_bytes for s in self._spans) > _HELD_BYTES:
            self._spans.pop(0)
        return span

    def _fetch(self, position: int, before: _Span | None) -> _Span:
        """Fetch what follows the span `before`; if it is None, what follows a position."""
        start = position if before is None else before.stop
        size = _FIRST_BYTES if before is None else min(2 * before.num_bytes, _MOST_BYTES)
        stop = min([start + size, self._size, *(s.start for s in self._spans if s.start > start)])
        data = ThreadPerCall().submit(_read, self.path, start, stop)
        return _Span(start, stop, before is not None, data)


def _read(path: RemotePath, start: int, stop: int) -> bytes | PilarnetError:
    """Read a range; return an error without its traceback, as another thread will raise it."""
    try:
        return path.read_ranges([(start, stop)])[0]
    except PilarnetError as error:
        return copy(error)
