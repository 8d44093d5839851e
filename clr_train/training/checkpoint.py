"""Checkpoint files: complete or absent, and read without running code from them.

A file is a flat dictionary of tensors, numbers, strings, lists and dictionaries, written by
`torch.save`, so that ``torch.load(path, weights_only=True)`` reads it:

========== ================================================================================
format     ``"pilarnet-clr-checkpoint"``
version    1; a reader refuses any other
model      weights of the encoder and its projection head
encoder    sizes of the encoder, see `clr_train.network.models.EncoderConfig`
optimizer  state of AdamW
step       steps done; with the configuration it fixes the learning rate
stream     ``epoch`` and ``batch``, the next to read; ``num_batches``, ``num_particles``, and
           ``shards``, the checksum of each set
random     states of torch's generators; other random numbers are keyed by seed, epoch, particle
config     options of the run, see `clr_train.config.TrainConfig`
progress   seconds trained, the best validation loss, the baselines of the run, the figures of a
           step whose evaluation or pictures were interrupted, the steps of the learning rate's
           schedule
========== ================================================================================
"""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO, Final, NamedTuple, cast

import torch

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import (
    link_file,
    remove_file,
    remove_if_empty,
    sync,
    written_beside,
)
from pilarnet_convert.storage.remote import as_path

__all__ = [
    "Checkpoint",
    "CheckpointError",
    "CheckpointFolder",
    "find_checkpoint",
    "load_checkpoint",
    "read_checkpoint",
    "remove_checkpoints",
    "save_checkpoint",
]

FORMAT: Final = "pilarnet-clr-checkpoint"
VERSION: Final = 1
_FIELDS: Final = ("model", "encoder", "optimizer", "step", "stream", "random", "config", "progress")
_DAMAGED: Final = "it is damaged or was not written by clr-train; remove it and use an older one"
_NAME: Final = re.compile(r"step-(\d{8})\.pt")
#: Checkpoints, and files that an interrupted save left.
_OURS: Final = re.compile(r"(step-\d{8}|best)\.pt|\.(step-\d{8}|best)\.pt\.(\d+\.)?tmp")


class CheckpointError(PilarnetError):
    """A checkpoint is missing, damaged, of another version or of another model."""


class Checkpoint(NamedTuple):
    """A checkpoint in memory: its file, the SHA-256 of its bytes, and its fields."""

    path: Path
    sha256: str
    state: dict[str, Any]


def save_checkpoint(path: str | Path, *, state: Mapping[str, Any]) -> None:
    """Write a checkpoint; at any time `path` is the old or the new file, complete.

    The folder of `path` must exist. `state` has the fields of the table above without ``format``
    and ``version``. An OSError, such as for a full disk, leaves an old file unchanged.
    """
    path = Path(path)
    missing = set(_FIELDS).symmetric_difference(state)
    if missing:
        raise ValueError(f"a checkpoint has the fields {_FIELDS}; wrong: {sorted(missing)}")
    with written_beside(path, sync=True) as file:
        noted = _NotedErrors(file)
        try:
            torch.save({"format": FORMAT, "version": VERSION, **state}, cast(BinaryIO, noted))
        except RuntimeError:
            if noted.error is None:
                raise
            raise noted.error from None
    sync(path.parent)  # the rename survives a loss of power too


class _NotedErrors:
    """A file that keeps the error of a write, which torch replaces by one about its archive."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.error: OSError | None = None

    def write(self, data: Any) -> int:
        try:
            return self._file.write(data)
        except OSError as error:
            self.error = error
            raise

    def flush(self) -> None:
        self._file.flush()


def find_checkpoint(path: str | Path) -> Path:
    """Return a checkpoint file itself, or of a run folder its best checkpoint, else its latest.

    A CheckpointError is raised if there is none.
    """
    path = as_path(path)
    if path.is_file():
        return path
    for folder in (path / "checkpoints", path):
        kept = [folder / "best.pt", *sorted(folder.glob("step-*.pt"), reverse=True)]
        for file in kept:
            if file.is_file():
                return file
    raise CheckpointError(
        "the folder holds no checkpoint" if path.is_dir() else "no such checkpoint",
        file=path,
        advice="name the folder of a run, or a file such as runs/NAME/checkpoints/best.pt; an "
        "exported encoder is opened by clr_train.load_encoder",
    )


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read the fields of a checkpoint, see the table above, onto the CPU.

    Parameters
    ----------
    path : path
        A checkpoint file, or a run folder: its best checkpoint, else its latest.

    Returns
    -------
    dict

    Raises
    ------
    CheckpointError
        The file does not exist, is damaged, or is of another format or version.
    """
    return read_checkpoint(path).state


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint as `load_checkpoint` does, and the SHA-256 of the same bytes.

    The file is read once: a training that goes on may replace it at any time.
    """
    path = find_checkpoint(path)
    sha256, state = _read_archive(path)
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise CheckpointError(
            "not a checkpoint of clr-train",
            file=path,
            field="format",
            expected=FORMAT,
            found=state.get("format") if isinstance(state, dict) else type(state).__name__,
        )
    if state.get("version") != VERSION:
        raise CheckpointError(
            "checkpoint of another version",
            file=path,
            field="version",
            expected=VERSION,
            found=state.get("version"),
            advice="use the release of pilarnet-clr that wrote it",
        )
    absent = [name for name in _FIELDS if name not in state]
    if absent:
        raise CheckpointError("incomplete checkpoint", file=path, expected=", ".join(absent))
    for name in _FIELDS:
        kind = int if name == "step" else dict
        if not isinstance(state[name], kind):
            raise CheckpointError(
                "checkpoint with a field of another type",
                file=path,
                field=name,
                expected=kind.__name__,
                found=type(state[name]).__name__,
                advice=_DAMAGED,
            )
    return Checkpoint(path=path, sha256=sha256, state=state)


def _read_archive(path: Path) -> tuple[str, Any]:
    """Return the SHA-256 of a file, in hexadecimal, and what `torch.save` wrote into it."""
    try:
        data = path.read_bytes()
        # Checked first: torch.load reads a file that is no zip archive as a pickle, and does not
        # compare checksums.
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"a wrong checksum of {damaged}")
        state = torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)
        return hashlib.sha256(data).hexdigest(), state
    except Exception as error:  # a damaged pickle may raise any
        raise CheckpointError(
            "cannot be read as a checkpoint",
            file=path,
            found=(str(error) or type(error).__name__).splitlines()[0],
            advice=_DAMAGED,
        ) from error


class CheckpointFolder:
    """The checkpoints of a run: the `keep_last` latest, at least 1, and the best.

    The folder is created if it does not exist. Remains of an interrupted save are removed.
    """

    def __init__(self, folder: str | Path, *, keep_last: int) -> None:
        self.folder = Path(folder)
        #: The checkpoint with the lowest validation loss; it may not exist.
        self.best = self.folder / "best.pt"
        self.keep_last = keep_last
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp"):
            if _OURS.fullmatch(leftover.name):
                remove_file(leftover)

    def steps(self) -> list[int]:
        """List the steps that have a checkpoint, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """Return the path of the checkpoint of a step."""
        return self.folder / f"step-{step:08d}.pt"

    def latest(self) -> Path | None:
        """Return the checkpoint of the highest step, None if there is none."""
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def save(self, state: Mapping[str, Any], *, best: bool) -> Path:
        """Write the checkpoint of ``state["step"]``, remove old ones, and return its path.

        `state` is as for `save_checkpoint`; `best` says whether it is also the best so far.
        """
        path = self.path(state["step"])
        save_checkpoint(path, state=state)
        if best:
            link_file(path, self.best)
            sync(self.folder)
        for step in self.steps()[: -self.keep_last]:
            remove_file(self.path(step))
        return path


def remove_checkpoints(folder: Path) -> None:
    """Remove the checkpoints in a folder, and the folder if nothing else is in it."""
    if not folder.is_dir():
        return
    for path in folder.iterdir():
        if _OURS.fullmatch(path.name):
            remove_file(path)
    remove_if_empty(folder)
