"""The folder of a run.

==============  =================================================================================
config.toml     the options of the run, for ``--config``
metrics.csv     a row for each step, see `COLUMNS`; steps without validation leave cells empty
checkpoints/    see `clr_train.training.checkpoint`
tensorboard/    the same figures, options and pictures as event files
probe.json      scores of the probes on the test split, at the end of training
log.txt         messages and progress, with versions, host and command line
nonfinite.json  the particles of a batch whose loss or gradient was not finite
==============  =================================================================================
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_train.config import TrainConfig, read_config, write_config
from clr_train.training.checkpoint import remove_checkpoints
from clr_train.training.trackers import TAGS, TensorBoard, Tracker, WeightsAndBiases
from pilarnet_convert.console.run_log import RunLog
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import (
    locked,
    remove_file,
    remove_folder,
    replace_file,
    sync,
    written_beside,
)
from pilarnet_convert.storage.remote import as_path

__all__ = ["COLUMNS", "RunFolder"]

#: Columns of metrics.csv. Times are in seconds; accuracies are from 0 to 1, the balanced ones
#: means over the classes. The untrained encoder and the majority class are baselines.
COLUMNS: Final = ("step", *TAGS)
_LOG: Final = "log.txt"
_WRITTEN: Final = ("config.toml", "metrics.csv", "probe.json", "nonfinite.json", "wandb.id", _LOG)
_LOCK: Final = ".lock"
_FOLDERS: Final = ("tensorboard", "wandb")


class RunFolder:
    """The output of a run: a folder, created if it does not exist, and locked while it is open.

    With `resume` an earlier run is continued; with `overwrite` its files, and no others, are
    removed. `facts` are written at the beginning of ``log.txt``.

    Raises
    ------
    PilarnetError
        The folder is not empty and neither `resume` nor `overwrite` is given, it holds files but no
        run that `overwrite` could replace, or another process writes to it.
    """

    def __init__(
        self, path: str | Path, *, resume: bool, overwrite: bool, facts: Mapping[str, str]
    ) -> None:
        self.path = as_path(path)
        self.checkpoints = self.path / "checkpoints"
        self._trackers: list[Tracker] = []
        if self.path.exists() and not self.path.is_dir():
            raise PilarnetError("is not a folder", file=self.path, field="--out")
        self.path.mkdir(parents=True, exist_ok=True)
        is_run = _is_run(self.path)
        if not (resume or (overwrite and is_run)) and any(map(_is_content, self.path.iterdir())):
            raise PilarnetError(
                "the output folder is in use",
                file=self.path,
                field="--out",
                found=None if is_run else "files, but neither config.toml nor metrics.csv of a run",
                advice="name another, continue it with --resume, or replace it with --overwrite"
                if is_run
                else "name another",
            )
        self._stack = ExitStack()
        in_use = PilarnetError(
            "another process is training into this folder",
            file=self.path,
            field="--out",
            advice="wait for it, stop it, or name another folder",
        )
        self._stack.enter_context(locked(self.path / _LOCK, in_use=in_use))
        if overwrite and is_run and not resume:
            self._remove_earlier()
        #: The lines of ``log.txt``.
        self.log_file = self._stack.enter_context(RunLog(self.path / _LOG, facts=facts))

    def _remove_earlier(self) -> None:
        for name in _WRITTEN:
            remove_file(self.path / name)
        for name in _FOLDERS:
            remove_folder(self.path / name)
        remove_checkpoints(self.checkpoints)

    def __enter__(self) -> RunFolder:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def begin(self, config: TrainConfig, *, next_step: int) -> None:
        """Write the configuration and open the logs.

        `next_step` is the first to log: rows of it and later, of an interrupted run, are removed.
        """
        write_config(self.path / "config.toml", config=config)
        self._cut_metrics(next_step)
        self._track(
            TensorBoard(self.path / "tensorboard", options=config.to_dict(), next_step=next_step)
        )
        if config.wandb is not None:
            self._track(WeightsAndBiases(config.wandb, folder=self.path, options=config.to_dict()))

    def _track(self, tracker: Tracker) -> None:
        self._stack.push(lambda kind, *_: tracker.close(failed=kind is not None))
        self._trackers.append(tracker)

    def _cut_metrics(self, next_step: int) -> None:
        path = self.path / "metrics.csv"
        text = path.read_text(encoding="utf-8", errors="replace") if path.exists() else ""
        kept = [line for line in text.split("\n") if _is_row(line, before=next_step)]
        with written_beside(path, sync=True) as file:
            file.write("\n".join([",".join(COLUMNS), *kept, ""]).encode())

    def log(self, row: Mapping[str, float]) -> None:
        """Add a row to all logs: figures by the names of `COLUMNS`, ``step`` among them."""
        unknown = set(row) - set(COLUMNS)
        if unknown:
            raise ValueError(f"no such columns of metrics.csv: {sorted(unknown)}")
        cells = (_text(row[name]) if name in row else "" for name in COLUMNS)
        with open(self.path / "metrics.csv", "a", encoding="utf-8") as file:
            file.write(",".join(cells) + "\n")
        figures = {name: value for name, value in row.items() if name != "step"}
        for tracker in self._trackers:
            tracker.log(figures, step=int(row["step"]))

    def show(self, pictures: Mapping[str, NDArray[np.uint8]], *, step: int) -> None:
        """Add pictures, uint8 [height, width, 3] by name, to the logs that can show them."""
        for tracker in self._trackers:
            tracker.show(pictures, step=step)

    def sync(self) -> None:
        """Flush the metrics to the disk."""
        sync(self.path / "metrics.csv")

    def write_json(self, name: str, value: Any) -> Path:
        """Write a file of the run as JSON and return its path."""
        path = self.path / name
        replace_file(path, (json.dumps(value, indent=2) + "\n").encode())
        return path


def _is_run(path: Path) -> bool:
    """Return whether a folder has the configuration or the metrics of a run."""
    with suppress(OSError, ValueError), open(path / "metrics.csv", encoding="utf-8") as file:
        if file.readline().startswith("step,"):
            return True
    with suppress(OSError, PilarnetError):
        return bool(read_config(path / "config.toml").get("shards"))
    return False


def _is_content(entry: Path) -> bool:
    """Return whether an entry is none of those that a run leaves which failed before it began."""
    empty_folder = entry.is_dir() and not any(entry.iterdir())
    return entry.name not in (_LOCK, _LOG) and not (entry.name == "checkpoints" and empty_folder)


def _is_row(line: str, *, before: int) -> bool:
    """Return whether a line of metrics.csv is the row of a step before `before`.

    A killed process may have left an incomplete last row.
    """
    cells = line.split(",")
    step = cells[0]
    is_whole = len(cells) == len(COLUMNS) and step.isdecimal() and len(step) < 16
    return is_whole and int(step) < before


def _text(value: float) -> str:
    # Nine digits distinguish all values of float32.
    return str(value) if isinstance(value, int) else f"{value:.9g}"
