"""The folder of a report or of a study: one process writes into it at a time."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import locked, read_json_object

__all__ = ["LOCK", "LOG", "RESULTS", "RUNS", "check_report_folder", "locked_folder"]

#: The file that is locked.
LOCK: Final = ".lock"
LOG: Final = "log.txt"
_REPORT: Final = "report.json"
#: The folders of intermediate results and, in a study, of pretrained encoders.
RESULTS: Final = "results"
RUNS: Final = "runs"
#: What a folder of clr-train holds.
_OF_A_RUN: Final = frozenset({"config.toml", "checkpoints"})


def check_report_folder(folder: Path, *, kind: str, others: Collection[str]) -> None:
    """Check that a folder is new, empty, or holds an earlier report of a kind.

    Parameters
    ----------
    folder : Path
    kind : str
        The ``format`` in report.json.
    others : collection of str
        Names that a report of the other kind has in its folder, and this kind has not.

    Raises
    ------
    PilarnetError
        The folder holds something else, or is a file.
    """
    if folder.exists() and not (folder.is_dir() and _is_free(folder, kind, others)):
        raise PilarnetError(
            "the output folder is in use",
            file=folder,
            field="--out",
            expected="a new folder, an empty one, or an earlier report",
            advice="choose another --out",
        )


def _is_free(folder: Path, kind: str, others: Collection[str]) -> bool:
    """Return whether a folder is empty or holds a report, which may have been interrupted."""
    names = {entry.name for entry in folder.iterdir()}
    if names & (_OF_A_RUN | set(others)):
        return False
    if _REPORT in names:
        return read_json_object(folder / _REPORT).get("format") == kind
    if RESULTS in names or RUNS in names:
        return True
    return all(name == LOG or name.startswith(LOCK) for name in names)


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
