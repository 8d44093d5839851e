"""Writing files and folders that appear whole, and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final

from pilarnet_convert.errors import PilarnetError

__all__ = ["folder_written_beside", "locked", "replace_file", "written_beside"]

#: Errors of a file system without locks, such as Lustre mounted without flock.
_NO_LOCKS: Final = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


@contextmanager
def written_beside(
    path: Path, *, beside: Path | None = None, sync: bool = False
) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` at the end, if nothing fails.

    Until the end it is `beside`, unless given next to `path` under a name that ends in ``.tmp``;
    no two processes may use the same. With `sync`, a loss of power leaves the old file or the new.
    """
    beside = beside or path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("wb") as stream:
            yield stream
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(beside, path)
    except OSError as error:
        if error.filename is None:  # as of a full disk
            error.filename = str(path)
        raise
    finally:
        beside.unlink(missing_ok=True)


def replace_file(
    path: Path, data: bytes, *, beside: Path | None = None, sync: bool = False
) -> None:
    """Write a file so that it appears whole, in place of what was there; see `written_beside`."""
    with written_beside(path, beside=beside, sync=sync) as stream:
        stream.write(data)


@contextmanager
def folder_written_beside(path: Path, *, mark: str, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write in that takes the place of `path` at the end, if nothing fails.

    Only one process at a time may write `path`; what a killed process left beside is removed.

    Parameters
    ----------
    path : Path
        The folder; it may exist if it is empty or may be replaced.
    mark : str
        A file that is written into every such folder; one without it is never replaced.
    overwrite : bool
        Replace a folder that has `mark`.

    Raises
    ------
    PilarnetError
        If `path` is in use and may not be replaced.
    """
    in_use = path.exists() and not (path.is_dir() and not any(path.iterdir()))
    ours = (path / mark).is_file()
    if in_use and not (overwrite and ours):
        raise PilarnetError(
            "exists already",
            file=path,
            advice="replace it with --overwrite, or choose another --out"
            if ours
            else "choose another --out",
        )
    beside = path.with_name(f".{path.name}.tmp")
    shutil.rmtree(beside, ignore_errors=True)
    try:
        beside.mkdir(parents=True)
        yield beside
        if in_use:
            shutil.rmtree(path)
        os.replace(beside, path)
    except OSError as error:  # of a full disk it names no file
        if error.filename is None or Path(error.filename).is_relative_to(beside):
            error.filename = str(path)
        raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)


@contextmanager
def locked(path: Path, *, in_use: PilarnetError) -> Iterator[None]:
    """Hold a lock on the file `path`, made if needed; raise `in_use` if another process has it."""
    with path.open("a") as lock:  # what a link leads to is not emptied
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use from None
        except OSError as error:
            if error.errno not in _NO_LOCKS:
                raise
            print(
                f"warning: {path}: the file system has no locks ({error.strerror}); "
                "let no other process write here",
                file=sys.stderr,
            )
        yield
