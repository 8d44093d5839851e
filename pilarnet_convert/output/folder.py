"""Writing a set of shards into a folder of this machine, or one that machines share."""

from __future__ import annotations

import filecmp
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import uuid4

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import (
    locked,
    move_folder,
    remove_at_once,
    remove_file,
    remove_folder,
    remove_if_empty,
    replace_file,
    sync,
)
from pilarnet_convert.output.output import Output, record_bytes, scratch_name
from pilarnet_convert.shards.format import CONVERSION_FOLDER, SHARD_NAME, SPLITS, shard_name
from pilarnet_convert.shards.writer import group_document

__all__ = ["OutputFolder"]


class OutputFolder(Output[Path]):
    """The folder of a set of shards; while a conversion runs, it holds ``.conversion``.

    =================================== ========================================================
    ``.conversion/begun/manifest.json`` what is converted and how, which ``--resume`` compares
    ``.conversion/begun/tasks/``        the record of each task that is done
    ``.conversion/begun/scratch-*``     shards that are being written, by a checksum of the
                                        manifest
    ``.conversion/lock``                held while a conversion runs; parts take no lock
    =================================== ========================================================

    Several processes of one conversion may use the folder at the same time, on different machines
    and without a lock. The file system must rename atomically, and refuse to rename a folder
    onto one that is not empty.

    A process puts files in place by renaming them out of ``scratch``, whose name is particular to
    the conversion. If its conversion was cleared away or finished by others there is no
    ``scratch``, and the process can change nothing any more.

    Attributes
    ----------
    scratch : Path
        From `begin` on, where shards are written before they are put in place.
    """

    def __init__(self, path: Path) -> None:
        self._begun = path / CONVERSION_FOLDER / "begun"
        super().__init__(path, begun=self._begun)

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check as for any output, and that no folder in it is a link that leads elsewhere."""
        for name in (*SPLITS, CONVERSION_FOLDER):
            if (self.path / name).is_symlink():
                raise PilarnetError(
                    "a folder of the output is a link, and is not followed",
                    file=self.path / name,
                    advice="remove it, or choose another --out",
                )
        super().check(resume=resume, overwrite=overwrite)

    def begin(self, manifest: Mapping[str, Any]) -> Mapping[str, Any]:
        """Write the manifest, unless there is one already; return the one that is there."""
        data = json.dumps(manifest).encode()
        scratch = scratch_name(data)
        self.scratch = self._begun / scratch
        building = self._working / uuid4().hex
        for folder in (building / self._tasks.name, building / scratch):
            folder.mkdir(parents=True)
        (building / self._manifest.name).write_bytes(data)
        if not move_folder(building, self._begun):
            remove_folder(building)
        return self.manifest() or {}

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other conversions out of this folder; leave no trace of one that did not begin."""
        self._working.mkdir(parents=True, exist_ok=True)
        in_use = PilarnetError(
            "another conversion is writing here",
            file=self.path,
            advice="wait for it, or choose another --out",
        )
        with locked(self._working / "lock", in_use=in_use):
            try:
                yield
            finally:
                remains = (self._begun, *(self.path / split for split in SPLITS))
                if not any(folder.exists() for folder in remains):
                    remove_folder(self._working)

    def end_task(self, task: int, record: Mapping[str, Any], *, attempt: str) -> None:
        """Put the shards of a task in place and write its record, after which it is done.

        The folder `attempt` in `scratch` holds those that the record names, by their splits. If one
        is not there, nothing is changed, and it is a `FileNotFoundError`.
        """
        named = {entry["name"] for entry in record["shards"]}
        written = {split for split in SPLITS if shard_name(split, task) in named}
        for split in written:
            (self.scratch / attempt / split).stat()
        self._remove(self._record(task))
        for split in SPLITS:
            built, target = self.scratch / attempt / split, self.path / shard_name(split, task)
            if split not in written:
                self._remove(target)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            # Another process that ran the task may have put the same there: it stays.
            while not (_same(built, target) or move_folder(built, target)):
                self._remove(target)
        self._put(self._record(task), record_bytes(record))
        self.drop(attempt)

    def drop(self, attempt: str) -> None:
        """Remove what an attempt at a task wrote."""
        remove_folder(self.scratch / attempt)

    def _remove(self, path: Path) -> None:
        """Remove a file or folder, which vanishes as a whole: no part of it is left to be read."""
        remove_at_once(path, aside=self.scratch / uuid4().hex)

    def _put(self, path: Path, data: bytes) -> None:
        """Write a file so that it appears whole, in place of what was there."""
        replace_file(path, data, beside=self.scratch / uuid4().hex, sync=True)

    def done(self) -> set[int]:
        """Return the numbers of the tasks that have a record."""
        return {int(name.stem) for name in self._tasks.glob("[0-9]*.json")}

    def write_root(self, attributes: Mapping[str, Any]) -> None:
        """Write the groups of the splits and, last, the root, which makes the set readable.

        Before the root, all shards are on the disk, if this machine wrote them. A resumed
        conversion compares shards with their checksums, so that no task needs to wait for this.
        """
        for split in SPLITS:
            (self.path / split).mkdir(exist_ok=True)
            self._put(self.path / split / "zarr.json", group_document({}))
        sync()
        self._put(self.path / "zarr.json", group_document(attributes))

    def remove_working(self) -> None:
        """Remove ``.conversion``; the shards stay."""
        # At once: a worker that lags behind cannot put anything there any more.
        remove_at_once(self._begun, aside=self._working / uuid4().hex)
        remove_folder(self._working)

    def clear(self) -> None:
        """Remove what a conversion wrote, and nothing else."""
        # The manifest and the root go first: an interruption leaves nothing behind that a later
        # conversion takes for finished work.
        self._working.mkdir(parents=True, exist_ok=True)
        remove_at_once(self._begun, aside=self._working / uuid4().hex)
        remove_file(self.path / "zarr.json")
        for split in SPLITS:
            folder = self.path / split
            for shard in sorted(folder.glob("*")):
                is_shard = SHARD_NAME.fullmatch(f"{split}/{shard.name}")
                if is_shard and (shard / "zarr.json").exists():
                    remove_at_once(shard, aside=self._working / uuid4().hex)
            remove_file(folder / "zarr.json")
            remove_if_empty(folder)


def _same(folder: Path, other: Path) -> bool:
    """Return whether the files of a folder are in the other too, with the same bytes."""
    if not other.exists():
        return False
    names = [str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()]
    _, differ, missing = filecmp.cmpfiles(folder, other, names, shallow=False)
    return not (differ or missing)
