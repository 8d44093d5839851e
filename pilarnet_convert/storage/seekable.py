"""Bytes that can be read at any position, as a binary stream."""

from __future__ import annotations

import io
import os
from abc import abstractmethod
from typing import Any

__all__ = ["SeekableReader"]


class SeekableReader(io.RawIOBase):
    """A binary stream, for libraries that need one; subclasses define `size` and `read_at`."""

    def __init__(self) -> None:
        self._position = 0

    @property
    @abstractmethod
    def size(self) -> int:
        """The size of the file in bytes."""

    @abstractmethod
    def read_at(self, position: int, num_bytes: int) -> bytes:
        """Read `num_bytes` bytes from `position` on, fewer at the end of the file."""

    def readable(self) -> bool:
        """Return True: the stream can be read."""
        return True

    def seekable(self) -> bool:
        """Return True: the stream has a position."""
        return True

    def tell(self) -> int:
        """Return the position of the stream."""
        return self._position

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set the position of the stream."""
        begin = {os.SEEK_SET: 0, os.SEEK_CUR: self._position}
        self._position = offset + (self.size if whence == os.SEEK_END else begin[whence])
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Fill a buffer, or less of it at the end of the file; return the number of bytes."""
        data = self.read_at(self._position, len(buffer))
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)
