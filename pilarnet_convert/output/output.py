"""What a conversion finds where it is to write: a finished set, an unfinished one, or neither."""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Final, Generic, TypeVar

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import (
    CONVERSION_FOLDER,
    FORMAT_NAME,
    FORMAT_VERSION,
    SPLITS,
    attributes_checksum,
)
from pilarnet_convert.storage.byte_file import read_if_there
from pilarnet_convert.storage.remote import AnyPath, RemotePath

__all__ = ["Output", "record_bytes", "scratch_name"]

#: What an unfinished conversion of version 1 of the format left in ``.conversion``.
_VERSION_1: Final = "record.json"


#: The type of the paths of an output.
_PathT = TypeVar("_PathT", Path, RemotePath)


class Output(ABC, Generic[_PathT]):
    """The folder of a set of shards; while a conversion runs, it holds ``.conversion``.

    Attributes
    ----------
    path : Path or RemotePath
        The folder.
    scratch : Path or RemotePath
        From `begin` on, what is particular to this conversion.
    """

    scratch: _PathT

    def __init__(self, path: _PathT, *, begun: _PathT) -> None:
        self.path: _PathT = path
        self._working: _PathT = path / CONVERSION_FOLDER
        self._manifest: _PathT = begun / "manifest.json"
        self._tasks: _PathT = begun / "tasks"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check, without a change, that a conversion may write here; `PilarnetError` if not.

        A folder with shards needs `resume` or `overwrite`. Nothing else in it may be called train,
        val, test or zarr.json.
        """
        if self.path.exists() and not self.path.is_dir():
            raise PilarnetError(
                "the output is not a folder", file=self.path, advice="choose another --out"
            )
        root = self.root()
        if not overwrite:
            self._refuse_other_version(root)
        foreign = [name for name in (*SPLITS, "zarr.json") if (self.path / name).exists()]
        # An unfinished set may lack its manifest: it was being cleared when its process ended.
        unfinished = self._manifest.parent.exists() or (foreign and self._working.exists())
        if unfinished or root is not None:
            if not (resume or overwrite):
                self._refuse()
        elif foreign:
            raise PilarnetError(
                "the folder holds something that no conversion wrote",
                file=self.path,
                found=", ".join(foreign),
                advice="choose another --out",
            )

    def _refuse_other_version(self, root: Mapping[str, Any] | None) -> None:
        finished = None if root is None else root.get("version")
        unfinished = (self._working / _VERSION_1).exists()
        if unfinished or finished not in (None, FORMAT_VERSION):
            raise PilarnetError(
                "shards of another version of the format",
                file=self.path,
                expected=f"version {FORMAT_VERSION}",
                found=f"version {1 if unfinished else finished}",
                advice="convert again with --overwrite, or choose another --out",
            )

    def check_again(self) -> None:
        """Refuse, once locked, what another conversion wrote here after `check`."""
        if self._manifest.exists() or self.root() is not None:
            self._refuse()

    def _refuse(self) -> None:
        holds = "an unfinished conversion" if self.root() is None else "shards"
        raise PilarnetError(
            f"the folder already holds {holds}",
            file=self.path,
            advice="continue with --resume, replace it with --overwrite, or choose another --out",
        )

    def root(self) -> Mapping[str, Any] | None:
        """Return the attributes of the finished set of shards that is here, or None."""
        try:
            document = json.loads(read_if_there(self.path / "zarr.json") or b"")
            attributes: dict[str, Any] = document["attributes"]
            return attributes if attributes["format"] == FORMAT_NAME else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def manifest(self) -> Mapping[str, Any] | None:
        """Return the manifest of the unfinished conversion that is here, or None."""
        return _read_json(self._manifest)

    def record(self, task: int) -> Mapping[str, Any] | None:
        """Return the record of a task; None if the task is not done or its record is damaged."""
        sealed = _read_json(self._record(task)) or {}
        record: Mapping[str, Any] = sealed.get("record", {})
        return record if sealed == json.loads(record_bytes(record)) else None

    def _record(self, task: int) -> _PathT:
        return self._tasks / f"{task:05d}.json"

    @abstractmethod
    def begin(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the manifest, unless there is one already; return the one that is there."""

    @abstractmethod
    def locked(self) -> AbstractContextManager[None]:
        """Keep other conversions out of this folder."""

    @abstractmethod
    def end_task(self, task: int, record: Mapping[str, Any], *, attempt: str) -> None:
        """Put the shards of a task in place and write its record, after which it is done."""

    @abstractmethod
    def drop(self, attempt: str) -> None:
        """Remove what an attempt at a task wrote."""

    @abstractmethod
    def done(self) -> set[int]:
        """Return the numbers of the tasks that have a record."""

    @abstractmethod
    def write_root(self, attributes: Mapping[str, Any]) -> None:
        """Write the groups of the splits and, last, the root, which makes the set readable."""

    @abstractmethod
    def remove_working(self) -> None:
        """Remove ``.conversion``; the shards stay."""

    @abstractmethod
    def clear(self) -> None:
        """Remove what a conversion wrote, and nothing else."""


def scratch_name(manifest: bytes) -> str:
    """Return the name of `Output.scratch`, which belongs to one manifest."""
    return f"scratch-{hashlib.sha256(manifest).hexdigest()[:16]}"


def record_bytes(record: Mapping[str, Any]) -> bytes:
    """Return the contents of the file of a record: it and its checksum."""
    checksum = attributes_checksum(record)
    return json.dumps({"record": record, "checksum": checksum}).encode()


def _read_json(path: AnyPath) -> Mapping[str, Any] | None:
    """Read a file of a conversion; None if it is missing, or empty after a loss of power."""
    try:
        document = json.loads(read_if_there(path) or b"")
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None
