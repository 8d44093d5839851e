"""Changing files: writing what appears whole, moving, linking, removing, and locks."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from pilarnet_convert.errors import PilarnetError

__all__ = [
    "folder_written_beside",
    "link_file",
    "locked",
    "move_file",
    "move_folder",
    "remove_at_once",
    "remove_file",
    "remove_folder",
    "remove_if_empty",
    "replace_file",
    "sync",
    "written_beside",
]

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
        move_file(beside, path)
    except OSError as error:
        if error.filename is None:  # as of a full disk
            error.filename = str(path)
        raise
    finally:
        remove_file(beside)


def replace_file(
    path: Path, data: bytes, *, beside: Path | None = None, sync: bool = False
) -> None:
    """Write a file so that it appears whole, in place of what was there; see `written_beside`."""
    with written_beside(path, beside=beside, sync=sync) as stream:
        stream.write(data)


@contextmanager
def folder_written_beside(path: Path, *, mark: str, overwrite: bool) -> Iterator[Path]:
    """Yield a folder to write in that takes the place of `path` at the end, if nothing fails.

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
    remove_folder(beside)
    try:
        beside.mkdir(parents=True)
        yield beside
        if in_use:
            shutil.rmtree(path)
        os.rename(beside, path)
    except OSError as error:  # of a full disk it names no file
        if error.filename is None or Path(error.filename).is_relative_to(beside):
            error.filename = str(path)
        raise
    finally:
        remove_folder(beside)


def move_file(path: Path, target: Path) -> None:
    """Rename a file, in place of what was under the other name."""
    os.replace(path, target)


def move_folder(path: Path, target: Path) -> bool:
    """Rename a folder, unless there is one that is not empty under the other name."""
    try:
        os.rename(path, target)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    return True


def link_file(path: Path, target: Path) -> None:
    """Give a file a second name, in place of what was under it.

    A hard link takes no space; a file system that has none gets a copy.
    """
    beside = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    remove_file(beside)
    try:
        os.link(path, beside)
    except OSError:
        shutil.copyfile(path, beside)
    move_file(beside, target)


def remove_file(path: Path) -> None:
    """Remove a file, if it is there; what a link leads to stays."""
    path.unlink(missing_ok=True)


def remove_folder(path: Path) -> None:
    """Remove a folder and all that can be removed of it; what a link leads to stays."""
    if path.is_symlink():
        path.unlink(missing_ok=True)
    shutil.rmtree(path, ignore_errors=True)


def remove_at_once(path: Path, *, aside: Path) -> None:
    """Remove a file or folder, if it is there, so that no part of it is left to be read.

    It is first renamed to `aside`, a name that nothing has, on the same file system.
    """
    with suppress(FileNotFoundError):
        os.rename(path, aside)
        if aside.is_dir():
            remove_folder(aside)
        else:
            remove_file(aside)


def remove_if_empty(folder: Path) -> None:
    """Remove a folder if it is there and nothing is in it."""
    with suppress(OSError):
        folder.rmdir()


def sync(path: Path | None = None) -> None:
    """Wait until a file, the names in a folder, or without a path everything is on the disk."""
    if path is None:
        os.sync()
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


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
