"""Changing files: writing what appears whole, moving, linking, removing, and locks."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO, Final

from pilarnet_convert.errors import PilarnetError

__all__ = [
    "folder_written_beside",
    "link_file",
    "locked",
    "move_file",
    "move_folder",
    "named_in_errors",
    "read_json_object",
    "remove_at_once",
    "remove_file",
    "remove_folder",
    "remove_if_empty",
    "replace_file",
    "replaceable_folder",
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
        with named_in_errors(path):
            with beside.open("wb") as stream:
                yield stream
                if sync:
                    stream.flush()
                    os.fsync(stream.fileno())
            move_file(beside, path)
    finally:
        remove_file(beside)


def replace_file(
    path: Path, data: bytes, *, beside: Path | None = None, sync: bool = False
) -> None:
    """Write a file so that it appears whole, in place of what was there; see `written_beside`."""
    with written_beside(path, beside=beside, sync=sync) as stream:
        stream.write(data)


@contextmanager
def folder_written_beside(
    path: Path, *, is_ours: Callable[[Path], bool], overwrite: bool
) -> Iterator[Path]:
    """Yield a folder to write in that takes the place of `path` at the end, if nothing fails.

    Only one process at a time may write `path`. What a killed process left beside is removed, or
    put back if it is the old folder and the new one is not in its place.

    Parameters
    ----------
    path : Path
        The folder, or a link to it; it may exist if it is empty or may be replaced.
    is_ours, overwrite
        As for `replaceable_folder`.

    Raises
    ------
    PilarnetError
        As for `replaceable_folder`.
    """
    folder = replaceable_folder(path, is_ours=is_ours, overwrite=overwrite)
    beside = folder.with_name(f".{folder.name}.tmp")
    remove_folder(beside)
    try:
        beside.mkdir(parents=True)
        yield beside
        if folder.exists():
            os.rename(folder, _aside(folder))
        os.rename(beside, folder)
    except OSError as error:  # of a full disk it names no file
        if error.filename is None or Path(error.filename).is_relative_to(beside):
            error.filename = str(path)
        raise
    finally:
        remove_folder(beside)
        _settle(folder)


def replaceable_folder(path: Path, *, is_ours: Callable[[Path], bool], overwrite: bool) -> Path:
    """Return the folder that `path` leads to, after a check that it can be written.

    Parameters
    ----------
    path : Path
        The folder, or a link to it.
    is_ours : callable
        Whether a folder is what the command writes; no other is ever replaced.
    overwrite : bool
        Replace a folder that is ours.

    Raises
    ------
    PilarnetError
        If it is in use and not replaced, is a mount point, or has the current folder in it.
    """
    folder = Path(os.path.realpath(path))
    _settle(folder)
    if not folder.exists():
        return folder
    if not folder.is_dir() or any(folder.iterdir()):
        ours = folder.is_dir() and is_ours(folder)
        if not (ours and overwrite):
            raise PilarnetError(
                "exists already",
                file=path,
                field="--out",
                advice="replace it with --overwrite" if ours else "choose another --out",
            )
    with suppress(FileNotFoundError):  # the current folder may be gone
        if folder.is_mount() or Path.cwd().is_relative_to(folder):
            raise PilarnetError(
                "the current folder or a mount point cannot be replaced",
                file=path,
                field="--out",
                advice="choose a folder inside it",
            )
    return folder


def _aside(folder: Path) -> Path:
    """Return where an old folder is until the new one is in its place."""
    return folder.with_name(f".{folder.name}.replaced.tmp")


def _settle(folder: Path) -> None:
    """Remove an old folder if the new one is in its place; otherwise put it back."""
    if not folder.name:  # the root of the file system
        return
    if folder.exists():
        remove_folder(_aside(folder))
    elif _aside(folder).exists():
        os.rename(_aside(folder), folder)


@contextmanager
def named_in_errors(path: object) -> Iterator[None]:
    """Name a path in those errors of the system that name no file, as that of a full disk."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            error.filename = str(path)
        raise


def read_json_object(path: Path) -> dict[str, Any]:
    """Read a JSON object; an empty one if the file is missing or holds something else."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


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
