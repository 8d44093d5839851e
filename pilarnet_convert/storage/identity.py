"""What identifies the content of a file that bears no UUID, and whether it has changed."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from pilarnet_convert.errors import InputError
from pilarnet_convert.storage.byte_file import read_head
from pilarnet_convert.storage.remote import AnyPath, as_any_path, is_url

__all__ = ["FileRecord", "file_record", "unchanged"]

#: The first bytes of a file whose hash identifies it, with its size.
_HEAD_BYTES: Final = 1_048_576

#: The name of a file, its size in bytes, and what identifies its content.
FileRecord = tuple[str, int, str]


def file_record(path: AnyPath) -> FileRecord:
    """Return the name, the size in bytes and what identifies a file that bears no UUID.

    The last is its size and a hash of its first MiB, so that a copy under another name has it too.
    """
    head, size = read_head(path, _HEAD_BYTES)
    digest = hashlib.blake2b(head, digest_size=16).hexdigest()
    return path.name, size, f"{size}-{digest}"


@contextmanager
def unchanged(path: str, record: FileRecord) -> Iterator[None]:
    """Check that a remote file is the one that was looked into, after it was read.

    It is checked too where reading it fails with an `InputError`, as this may be why.

    Raises
    ------
    InputError
        If it is another one.
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
