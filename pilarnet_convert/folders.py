"""Folders that appear whole, in place of what was there."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pilarnet_convert.errors import PilarnetError

__all__ = ["folder_written_beside"]


@contextmanager
def folder_written_beside(path: Path, *, mark: str, overwrite: bool) -> Iterator[Path]:
    """Give a folder to write in that takes the place of `path` at the end, if nothing fails.

    Only one process at a time may write `path`; what a killed process left beside is removed.

    Parameters
    ----------
    path : Path
        The folder; if it exists it is empty, or is replaced.
    mark : str
        A file that is written into every such folder: none without it is replaced.
    overwrite : bool
        Replace a folder that has it.

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
    beside.mkdir(parents=True)
    try:
        yield beside
        if in_use:
            shutil.rmtree(path)
        os.replace(beside, path)
    finally:
        shutil.rmtree(beside, ignore_errors=True)
