"""The output folder: what may be written there, and the record that makes ``--resume`` safe."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import FORMAT_NAME, SPLITS

__all__ = ["OutFolder"]

_SHARD_NAME: Final = re.compile(r"\d{5,}")


class OutFolder:
    """An output folder and, while a conversion runs, its record in ``.conversion``.

    Parameters
    ----------
    path : Path
        The folder; it need not exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.working = path / ".conversion"
        self.segments = self.working / "segments"
        self.scratch = self.working / "scratch"
        self._record = self.working / "record.json"

    def check(self, *, resume: bool, overwrite: bool) -> None:
        """Check that a conversion may write here; nothing is changed.

        Raises
        ------
        PilarnetError
            If the folder holds shards and neither `resume` nor `overwrite` allows for them, or
            holds something else under the names of the format.
        """
        if self.path.exists() and not self.path.is_dir():
            raise PilarnetError(
                "the output is not a folder", file=self.path, advice="choose another --out"
            )
        begun = self.working.exists()
        if self._is_complete() or begun:
            if not (resume or overwrite):
                self._refuse("an unfinished conversion" if begun else "shards")
            return
        foreign = [name for name in (*SPLITS, "zarr.json") if (self.path / name).exists()]
        if foreign:
            raise PilarnetError(
                "the folder holds something that no conversion wrote",
                file=self.path,
                found=", ".join(foreign),
                advice="choose another --out",
            )

    def check_again(self) -> None:
        """Refuse, once locked, what another conversion made since `check` found nothing.

        Raises
        ------
        PilarnetError
            If the folder holds a finished or begun conversion.
        """
        if self._is_complete() or self._record.exists():
            self._refuse("shards" if self._is_complete() else "an unfinished conversion")

    def _refuse(self, what: str) -> None:
        raise PilarnetError(
            f"the folder already holds {what}",
            file=self.path,
            advice="go on with --resume, replace it with --overwrite, or choose another --out",
        )

    def completed(self) -> Mapping[str, Any] | None:
        """Give the attributes of the shards that are here, or None if they are unfinished."""
        if not self._is_complete():
            return None
        attributes: dict[str, Any] = json.loads((self.path / "zarr.json").read_text())["attributes"]
        return attributes

    def recorded(self) -> Mapping[str, Any] | None:
        """Give the plan of the unfinished conversion that is here, or None."""
        try:
            record: dict[str, Any] = json.loads(self._record.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        return record

    def begin(self, plan: Mapping[str, Any]) -> None:
        """Make the folder and record what is to be done."""
        for folder in (self.segments, self.scratch):
            folder.mkdir(parents=True, exist_ok=True)
        staging = self._record.with_suffix(".new")
        staging.write_text(json.dumps(plan), encoding="utf-8")
        os.replace(staging, self._record)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Keep other conversions out; the lock goes with this process, however it ends."""
        self.working.mkdir(parents=True, exist_ok=True)
        with (self.working / "lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise PilarnetError(
                    "another conversion is writing here",
                    file=self.path,
                    advice="wait for it, or choose another --out",
                ) from error
            yield

    def finish(self) -> None:
        """Remove the record and the segments; the shards stay."""
        shutil.rmtree(self.working, ignore_errors=True)

    def clear(self) -> None:
        """Remove what a conversion wrote, and nothing else."""
        # The record first and each shard at once, so that whoever is killed here leaves nothing
        # that a later run takes for finished work.
        self._record.unlink(missing_ok=True)
        (self.path / "zarr.json").unlink(missing_ok=True)
        self.scratch.mkdir(parents=True, exist_ok=True)
        for split in SPLITS:
            folder = self.path / split
            for shard in sorted(folder.glob("*")):
                if _SHARD_NAME.fullmatch(shard.name) and (shard / "zarr.json").exists():
                    removed = self.scratch / f"removed-{split}-{shard.name}"
                    shutil.rmtree(removed, ignore_errors=True)
                    os.replace(shard, removed)
                    shutil.rmtree(removed)
            (folder / "zarr.json").unlink(missing_ok=True)
            if folder.exists() and not any(folder.iterdir()):
                folder.rmdir()
        for folder in (self.segments, self.scratch):
            shutil.rmtree(folder, ignore_errors=True)

    def _is_complete(self) -> bool:
        try:
            document = json.loads((self.path / "zarr.json").read_text(encoding="utf-8"))
            return bool(document["attributes"]["format"] == FORMAT_NAME)
        except (OSError, ValueError, KeyError, TypeError):
            return False
