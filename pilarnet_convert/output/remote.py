"""Writing a set of shards into an object store, where nothing can be renamed or locked.

Every object appears whole. A shard is there when the metadata of its group are, which are put
last, and a set when its root is. What two processes write for one task is the same, so that either
may overwrite what the other put.
"""

from __future__ import annotations

import errno
import json
from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Final

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.output.output import Output, record_bytes, scratch_name
from pilarnet_convert.shards.array import SHARD_PATHS
from pilarnet_convert.shards.format import (
    ARRAYS,
    CONVERSION_FOLDER,
    SHARD_NAME,
    SPLITS,
    shard_name,
)
from pilarnet_convert.shards.writer import group_document
from pilarnet_convert.storage.remote import RemotePath

__all__ = ["RemoteOutput", "put_shards"]

_GROUP: Final = "zarr.json"


class RemoteOutput(Output[RemotePath]):
    """A set of shards in a remote store; while a conversion runs, it holds ``.conversion``.

    =============================== ===========================================================
    ``.conversion/manifest.json``   what is converted and how; the first process to put it wins
    ``.conversion/tasks/``          the record of each task that is done
    ``.conversion/scratch-*``       named by a checksum of the manifest; workers write only while
                                    it is there
    =============================== ===========================================================

    Parameters
    ----------
    path : RemotePath
        Where to write.
    """

    def __init__(self, path: RemotePath) -> None:
        super().__init__(path, begun=path / CONVERSION_FOLDER)

    def locked(self) -> AbstractContextManager[None]:
        """Lock nothing: `begin` keeps other conversions out."""
        return nullcontext()

    def begin(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the manifest, unless there is one already; return the one that is there."""
        data = json.dumps(manifest).encode()
        self.scratch = self._working / scratch_name(data)
        self._manifest.write_bytes(data, only_new=True)
        if (finished := self.root()) is not None:  # by another that was quicker
            self._working.remove()
            return finished
        begun = self.manifest() or {}
        if begun == json.loads(data):
            self.scratch.write_bytes(b"")
        return begun

    def end_task(self, task: int, record: Mapping[str, Any], *, attempt: str) -> None:  # noqa: ARG002
        """Write the record of a task, whose shards its worker has put in place."""
        written = {entry["name"] for entry in record["shards"]}
        for name in {shard_name(split, task) for split in SPLITS} - written:
            shard = self.path / name
            _remove_files(shard, shard.sizes().keys() & SHARD_PATHS)
        self._record(task).write_bytes(record_bytes(record))

    def drop(self, attempt: str) -> None:
        """Do nothing: a worker leaves nothing but shards."""

    def done(self) -> set[int]:
        """Return the numbers of the tasks that have a record."""
        return {int(Path(name).stem) for name in self._tasks.sizes()}

    def write_root(self, attributes: Mapping[str, Any]) -> None:
        """Write the groups of the splits and, last, the root, which makes the set readable.

        Raises
        ------
        PilarnetError
            If another conversion was begun here meanwhile.
        """
        if self._is_lost():
            raise PilarnetError(
                "another conversion was begun here meanwhile",
                file=self.path,
                advice="choose another --out for one of them",
            )
        self.path.write_files({f"{split}/{_GROUP}": group_document({}) for split in SPLITS})
        (self.path / _GROUP).write_bytes(group_document(attributes))

    def _is_lost(self) -> bool:
        """Return whether another conversion was begun here after this one."""
        return "scratch" in vars(self) and not self.scratch.exists()

    def remove_working(self) -> None:
        """Remove ``.conversion``, unless it is that of another conversion; the shards stay."""
        if not self._is_lost():
            self._working.remove()

    def clear(self) -> None:
        """Remove what a conversion wrote, unless another one took the folder; nothing else."""
        if self._is_lost():
            return
        self._working.remove()
        (self.path / _GROUP).remove()
        for split in SPLITS:
            folder = self.path / split
            parts = [name.partition("/") for name in folder.sizes()]
            _remove_files(
                folder,
                [
                    f"{number}/{file}"
                    for number, _, file in parts
                    if SHARD_NAME.fullmatch(f"{split}/{number}") and file in SHARD_PATHS
                ],
            )
            (folder / _GROUP).remove()


def _remove_files(folder: RemotePath, names: Iterable[str]) -> None:
    """Remove files of shards by their paths from `folder`; the metadata of their groups go first.

    So an interruption leaves no part of a shard that looks like a whole one.
    """
    groups: list[str] = []
    others: list[str] = []
    for name in names:
        (groups if Path(name).parent.name not in ARRAYS else others).append(name)
    folder.remove_files(groups)
    folder.remove_files(others)


def put_shards(folder: Path, scratch: RemotePath, *, task: int) -> None:
    """Put the shards of a task, which lie in `folder` under the names of their splits, in place.

    Raises
    ------
    FileNotFoundError
        If the conversion was cleared away, or finished by others.
    """
    if not scratch.exists():
        raise FileNotFoundError(errno.ENOENT, "the conversion is no longer there", str(scratch))
    out = scratch.parent.parent
    for built in sorted(folder.iterdir()):
        target = out / shard_name(built.name, task)
        paths = [path for path in built.rglob("*") if path.is_file()]
        files = {str(path.relative_to(built)): path.read_bytes() for path in paths}
        group = files.pop(_GROUP)
        (target / _GROUP).remove()
        target.write_files(files)
        (target / _GROUP).write_bytes(group)
