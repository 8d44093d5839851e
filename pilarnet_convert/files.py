"""How files are written, and what may be written and removed in the folder of a set of shards."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Final

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import FORMAT_NAME, SPLITS, shard_name
from pilarnet_convert.shards.writer import group_document

__all__ = ["OutputFolder", "locked", "replace_file", "written_beside"]

_SHARD_NAME: Final = re.compile(r"\d{5,}")


@contextmanager
def written_beside(path: Path, *, sync: bool = False) -> Iterator[BinaryIO]:
    """Open a file for writing that takes the place of `path` at the end, if nothing fails.

    Only one process at a time may write `path`. Until the end the file is beside it, under a name
    that ends in ``.tmp``. With `sync`, a loss of power leaves the old file or the new.
    """
    beside = path.with_name(f".{path.name}.tmp")
    try:
        with beside.open("wb") as stream:
            yield stream
            if sync:
                stream.flush()
                os.fsync(stream.fileno())
        os.replace(beside, path)
    finally:
        beside.unlink(missing_ok=True)


def replace_file(path: Path, data: bytes) -> None:
    """Write a file so that it appears whole, in place of what was there."""
    with written_beside(path) as stream:
        stream.write(data)


@contextmanager
def locked(path: Path, *, in_use: PilarnetError) -> Iterator[None]:
    """Hold a lock on the file `path`, which is made; raise `in_use` if another process has it."""
    with path.open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise in_use from None
        yield


class OutputFolder:
    """The folder of a set of shards; while a conversion runs, it holds ``.conversion``.

    ========================= =================================================================
    ``.conversion/manifest``  what is converted and how, which ``--resume`` compares
    ``.conversion/tasks/``    the record of each task that is done
    ``.conversion/scratch/``  shards that are being written
    ``.conversion/lock``      held by the conversion that runs
    ========================= =================================================================
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._working = path / ".conversion"
        self._manifest = self._working / "manifest.json"
        self._tasks = self._working / "tasks"
        self._scratch = self._working / "scratch"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check, without a change, that a conversion may write here; `PilarnetError` if not.

        A folder with shards needs `resume` or `overwrite`; other things may not have the names of
        the format.
        """
        if self.path.exists() and not self.path.is_dir():
            raise PilarnetError(
                "the output is not a folder", file=self.path, advice="choose another --out"
            )
        foreign = [name for name in (*SPLITS, "zarr.json") if (self.path / name).exists()]
        if self._working.exists() or self.root() is not None:
            if not (resume or overwrite):
                self._refuse()
        elif foreign:
            raise PilarnetError(
                "the folder holds something that no conversion wrote",
                file=self.path,
                found=", ".join(foreign),
                advice="choose another --out",
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
            advice="go on with --resume, replace it with --overwrite, or choose another --out",
        )

    def root(self) -> Mapping[str, Any] | None:
        """Give the attributes of the finished set of shards that is here, or None."""
        try:
            document = json.loads((self.path / "zarr.json").read_text(encoding="utf-8"))
            attributes: dict[str, Any] = document["attributes"]
            return attributes if attributes["format"] == FORMAT_NAME else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def manifest(self) -> Mapping[str, Any] | None:
        """Give the manifest of the unfinished conversion that is here, or None."""
        return _read_json(self._manifest)

    def begin(self, manifest: Mapping[str, Any]) -> None:
        """Make the folders and write down what is to be done."""
        for folder in (self._tasks, self._scratch):
            folder.mkdir(parents=True, exist_ok=True)
        replace_file(self._manifest, json.dumps(manifest).encode())

    def locked(self) -> AbstractContextManager[None]:
        """Keep other conversions out of this folder."""
        self._working.mkdir(parents=True, exist_ok=True)
        in_use = PilarnetError(
            "another conversion is writing here",
            file=self.path,
            advice="wait for it, or choose another --out",
        )
        return locked(self._working / "lock", in_use=in_use)

    def begin_task(self, task: int) -> None:
        """Remove what the task wrote when it was begun before: its record, then its shards."""
        self._record(task).unlink(missing_ok=True)
        for split in SPLITS:
            self._remove_shard(self.path / shard_name(split, task))

    @contextmanager
    def new_shard(self, name: str) -> Iterator[Path]:
        """Give a folder to write a shard in; at the end it appears whole under its name."""
        building = self._scratch / name.replace("/", "-")
        shutil.rmtree(building, ignore_errors=True)
        building.mkdir(parents=True)
        yield building
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        os.replace(building, target)

    def _remove_shard(self, shard: Path) -> None:
        """Remove a shard, first from its place, so that no part of it is taken for the whole."""
        if shard.exists():
            removed = self._scratch / f"removed-{shard.parent.name}-{shard.name}"
            shutil.rmtree(removed, ignore_errors=True)
            os.replace(shard, removed)
            shutil.rmtree(removed)

    def end_task(self, task: int, record: Mapping[str, Any]) -> None:
        """Write the record of a task, after which it is done."""
        replace_file(self._record(task), json.dumps(record).encode())

    def record(self, task: int) -> Mapping[str, Any] | None:
        """Give the record of a task, or None if it is not done."""
        return _read_json(self._record(task))

    def _record(self, task: int) -> Path:
        return self._tasks / f"{task:05d}.json"

    def write_root(self, attributes: Mapping[str, Any]) -> None:
        """Write the groups of the splits and, last, the root, which makes the set readable."""
        for split in SPLITS:
            (self.path / split).mkdir(exist_ok=True)
            replace_file(self.path / split / "zarr.json", group_document({}))
        replace_file(self.path / "zarr.json", group_document(attributes))

    def finish(self) -> None:
        """Remove ``.conversion``; the shards stay."""
        shutil.rmtree(self._working, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a conversion wrote, and nothing else."""
        # The manifest and the root go first: whoever is interrupted here leaves nothing behind
        # that a later conversion takes for finished work.
        self._manifest.unlink(missing_ok=True)
        (self.path / "zarr.json").unlink(missing_ok=True)
        shutil.rmtree(self._tasks, ignore_errors=True)
        self._scratch.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            folder = self.path / split
            for shard in sorted(folder.glob("*")):
                if _SHARD_NAME.fullmatch(shard.name) and (shard / "zarr.json").exists():
                    self._remove_shard(shard)
            (folder / "zarr.json").unlink(missing_ok=True)
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        shutil.rmtree(self._scratch, ignore_errors=True)


def _read_json(path: Path) -> Mapping[str, Any] | None:
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
    except FileNotFoundError:
        return None
    return document
