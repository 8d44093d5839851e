"""The folder of a report or of a study: one process writes into it at a time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import locked

__all__ = ["LOCK", "locked_folder"]

#: The file that is locked.
LOCK: Final = ".lock"


@contextmanager
def locked_folder(folder: Path, *, name: str = LOCK) -> Iterator[None]:
    """Make a folder if needed, and lock the file `name` in it.

    Raises
    ------
    PilarnetError
        Another process holds the lock.
    """
    folder.mkdir(parents=True, exist_ok=True)
    in_use = PilarnetError(
        "another process is writing into this folder",
        file=folder,
        field="--out",
        advice="wait for it, stop it, or name another folder",
    )
    with locked(folder / name, in_use=in_use):
        yield
