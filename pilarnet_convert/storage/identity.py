"""What identifies the content of a file, and whether it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import InputError
from pilarnet_convert.storage.byte_file import read_head
from pilarnet_convert.storage.remote import AnyPath, as_any_path, is_url

__all__ = ["FileRecord", "file_digest", "file_record", "unchanged"]

#: The first bytes of a file whose hash identifies it, with its size.
_HEAD_BYTES: Final = 1_048_576

#: The name of a file, its size in bytes, and what identifies its content.
FileRecord = tuple[str, int, str]


def file_record(path: AnyPath) -> FileRecord:
    """Return the name, the size in bytes and the identity of a file that has no UUID.

    The identity is made of its size and a hash of its first MiB, so that a copy under another name
    has the same.
    """
    head, size = read_head(path, _HEAD_BYTES)
    digest = hashlib.blake2b(head, digest_size=16).hexdigest()
    return path.name, size, f"{size}-{digest}"


def file_digest(path: Path) -> str:
    """Return the SHA-256 of all bytes of a local file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def unchanged(path: str, record: FileRecord) -> Iterator[None]:
    """Check, after a remote file was read, that it has not changed since it was indexed.

    It is checked too if reading it fails with an `InputError`, as this may be the reason.

    Raises
    ------
    InputError
        If it has changed.
    """
    try:
        yield
    except InputError:
        _check(path, record)
        raise
    _check(path, record)


def _check(path: str, record: FileRecord) -> None:
    if is_url(path) and file_record(as_any_path(path)) != record:
        raise InputError(
            "the file changed while it was read",
            file=path,
            advice="wait until it is written, and begin anew with --overwrite",
        )
