"""Fetching files: resumed where they stopped, several at the same time, checked at the end."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.download import web
from pilarnet_convert.download.catalogue import ListedFile, list_files
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors import Workers
from pilarnet_convert.files import locked, move_file, named_in_errors, remove_file
from pilarnet_convert.storage.ahead import ThreadPerCall
from pilarnet_convert.storage.identity import file_digest
from pilarnet_convert.storage.remote import as_path
from pilarnet_convert.storage.retries import TRIES, pause

__all__ = ["download", "fetch_all"]

_AT_A_TIME: Final = 4


class _Stopped(Exception):
    """Another thread failed, or the user stopped the download."""


def download(
    name: str,
    out: str | Path,
    *,
    splits: Sequence[str] = (),
    revision: str | None = None,
    show_progress: bool = False,
) -> list[Path]:
    """Download a data set; existing files are not fetched again.

    Parameters
    ----------
    name : str
        ``"pilarnet-192"``, ``"pilarnet-512"``, ``"pilarnet-768"``, ``"pilarnet-m"`` or
        ``"pilarnet-m-mini"``.
    out : path
        The folder for the files. The name of an incomplete file ends in ``.part``.
    splits : sequence of str
        The splits of PILArNet-M to download; all of them unless given.
    revision : str, optional
        The branch or commit of PILArNet-M. By default v3; for the mini set, its only one.
    show_progress : bool
        Show the progress in bytes on the terminal.

    Returns
    -------
    list of Path
        The files.

    Raises
    ------
    OptionError
        If there is no such data set or split, or the data set has no splits or revisions.
    PilarnetError
        If the archive cannot be reached, there is not enough space, or a file cannot be fetched or
        is not the one that the archive lists.
    """
    files = list_files(name, splits=splits, revision=revision)
    return fetch_all(files, as_path(out), show_progress=show_progress)


def fetch_all(files: Sequence[ListedFile], out: Path, *, show_progress: bool = False) -> list[Path]:
    """Fetch files into a folder, four at a time.

    Raises
    ------
    PilarnetError
        If there is not enough space, another process downloads into the folder, or some files
        cannot be fetched; the others are fetched all the same.
    """
    out.mkdir(parents=True, exist_ok=True)
    in_use = PilarnetError(
        "another download is running here", file=out, advice="wait for it, or choose another --out"
    )
    with locked(out / ".download.lock", in_use=in_use):
        missing = [file for file in files if not _is_there(file, out)]
        _check_space(missing, out)
        total = sum(file.size or 0 for file in missing)
        done = sum(_part(file, out).stat().st_size for file in missing if _part(file, out).exists())
        with progress_bar(
            total=total / 1e6 or None, unit="MB", description="downloading", show=show_progress
        ) as bar:
            bar.measure_from(done / 1e6)
            failures = _fetch_in_threads(missing, out, lambda size: bar.update(size / 1e6))
    if len(failures) == 1:
        raise failures[0]
    if failures:
        raise PilarnetError(
            f"{len(failures)} of {len(files)} files cannot be fetched",
            file=out,
            found="; ".join(map(str, failures)),
            advice="run again to continue",
        )
    return [out / file.path for file in files]


def _fetch_in_threads(
    files: Sequence[ListedFile], out: Path, advance: Callable[[int], object]
) -> list[PilarnetError]:
    """Fetch files and return the errors; other exceptions and Ctrl-C stop all of them."""
    failures: list[PilarnetError] = []
    stop, lock = threading.Event(), threading.Lock()

    def tell(num_bytes: int) -> None:
        if stop.is_set():
            raise _Stopped
        with lock:
            advance(num_bytes)

    threads = Workers(executor=ThreadPerCall(), in_flight=_AT_A_TIME)
    try:
        for _, future in threads.completed(lambda file: _fetch(file, out, tell), files):
            try:
                future.result()
            except PilarnetError as error:
                failures.append(error)
    finally:
        stop.set()
    return failures


def _part(file: ListedFile, out: Path) -> Path:
    target = out / file.path
    return target.with_name(f"{target.name}.part")


def _is_there(file: ListedFile, out: Path) -> bool:
    """Return whether a file was fetched before.

    Raises
    ------
    PilarnetError
        If another file has its name.
    """
    target = out / file.path
    if not target.exists():
        return False
    found = target.stat().st_size
    if file.size is not None and found != file.size:
        raise PilarnetError(
            "another file of this name is there",
            file=target,
            expected=f"{file.size} bytes",
            found=found,
            advice="move it away, or choose another --out",
        )
    return True


def _check_space(files: Sequence[ListedFile], out: Path) -> None:
    parts = [_part(file, out) for file in files]
    needed = sum(file.size or 0 for file in files)
    needed -= sum(part.stat().st_size for part in parts if part.exists())
    free = shutil.disk_usage(out).free
    if needed > free:
        raise PilarnetError(
            "not enough space",
            file=out,
            expected=f"{needed / 1e9:,.1f} GB",
            found=f"{free / 1e9:,.1f} GB",
            advice="free some, or choose another --out",
        )


def _fetch(file: ListedFile, out: Path, advance: Callable[[int], object]) -> None:
    """Fetch a file, from where an earlier attempt ended."""
    part, failed = _part(file, out), 0
    part.parent.mkdir(parents=True, exist_ok=True)
    part.touch()
    while file.size is None or part.stat().st_size < file.size:
        before = part.stat().st_size
        try:
            _append(file.url, part, advance, resume=file.size is not None)
            if file.size is None:
                break
            failure = "the connection ended early"
        except web.ConnectionLost as error:
            failure = str(error)
        if part.stat().st_size > before:
            failed = 0
            continue
        failed += 1
        if failed == TRIES:
            raise PilarnetError(
                "the connection is lost",
                file=file.url,
                found=failure,
                advice="run again to continue",
            )
        pause(failed, first_s=web.FIRST_PAUSE_S)
    _check(file, part)
    move_file(part, out / file.path)


def _append(url: str, part: Path, advance: Callable[[int], object], *, resume: bool) -> None:
    size = part.stat().st_size
    begin = size if resume else 0
    with (
        named_in_errors(part),
        web.read_from(url, start=begin) as (start, pieces),
        part.open("r+b") as stream,
    ):
        stream.truncate(start)
        stream.seek(start)
        advance(start - size)
        for piece in pieces:
            advance(len(piece))  # first, as it ends a thread that was stopped
            stream.write(piece)


def _check(file: ListedFile, part: Path) -> None:
    """Compare size and checksum, if the archive lists them; remove what is wrong."""
    size = part.stat().st_size
    if file.size is not None and size != file.size:
        expected, found = f"{file.size} bytes", str(size)
    elif file.sha256 is not None and (digest := file_digest(part)) != file.sha256.lower():
        expected, found = f"SHA-256 {file.sha256}", digest
    else:
        return
    remove_file(part)
    raise PilarnetError(
        "the file is not the one that the archive lists",
        file=file.url,
        expected=expected,
        found=found,
        advice="it was removed; run again",
    )
