"""Local files: those of a folder."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import InputError
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["SUFFIXES", "files_below", "require_local"]

#: The files that are looked for in folders; of what kind each is, its content decides.
SUFFIXES: Final = (".root", ".h5", ".hdf5", ".parquet")


def files_below(folder: Path, *, note: Callable[[str], object]) -> list[Path]:
    """List the files of a folder and all below it that a reader may read, sorted.

    Parameters
    ----------
    folder : Path
        The folder. Links to folders are followed; each folder is searched once.
    note : function
        Called with a line that says how many other files were passed over.

    Raises
    ------
    InputError
        If there is no such file.
    """
    found: list[Path] = []
    others: Counter[str] = Counter()
    for path in _walk(folder, set()):
        if path.suffix.lower() in SUFFIXES:
            found.append(path)
        else:
            others[path.suffix or "without a suffix"] += 1
    passed_over = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common(5))
    if not found:
        raise InputError(
            f"the folder holds no {', '.join(f'*{s}' for s in SUFFIXES)} files",
            file=folder,
            found=passed_over or "no files",
            advice="name LArCV2, LArCV3 or PILArNet-M files",
        )
    if others:
        note(f"{folder}: {others.total()} other files passed over ({passed_over})")
    return sorted(found)


def _walk(folder: Path, seen: set[tuple[int, int]]) -> Iterator[Path]:
    """Yield the files; a folder that is reached again, through a link, is not entered again."""
    status = folder.stat()
    if (status.st_dev, status.st_ino) in seen:
        return
    seen.add((status.st_dev, status.st_ino))
    for entry in sorted(os.scandir(folder), key=lambda entry: entry.name):
        if entry.is_dir():
            yield from _walk(folder / entry.name, seen)
        else:  # also a broken link, which the reader reports
            yield folder / entry.name


def require_local(path: AnyPath, *, reader: str) -> Path:
    """Return the path, which must be that of a local file; an `InputError` if it is not."""
    if not isinstance(path, Path):
        raise InputError(
            f"the reader {reader} reads local files only",
            file=path,
            advice="leave --reader out, or download the file",
        )
    return path
