"""Checkpoints: one file a save, whole or absent, loadable without running code from it.

A file is what `torch.save` writes of a flat dictionary of tensors, numbers, strings, lists and
dictionaries, so that ``torch.load(path, weights_only=True)`` reads it:

========== ================================================================================
format     ``"pilarnet-clr-checkpoint"``
version    1; a reader refuses any other
model      state of the encoder and its projection head
encoder    the sizes of the encoder, see `clr_train.network.encoder.EncoderConfig`
optimizer  state of AdamW
step       steps done; with the configuration it fixes the learning rate
stream     ``{"epoch", "batch"}``: the next batch to read
random     states of torch's generators; everything else is keyed by seed, epoch and particle
config     the run's options, see `clr_train.config.TrainConfig`
progress   seconds trained, the best validation loss, the baselines of the run
========== ================================================================================
"""

from __future__ import annotations

import os
import pickle
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

import torch

from pilarnet_convert.errors import PilarnetError

__all__ = ["CheckpointError", "CheckpointFolder", "load_checkpoint", "save_checkpoint"]

FORMAT: Final = "pilarnet-clr-checkpoint"
VERSION: Final = 1
_FIELDS: Final = ("model", "encoder", "optimizer", "step", "stream", "random", "config", "progress")
_NAME: Final = re.compile(r"step-(\d{8})\.pt")


class CheckpointError(PilarnetError):
    """A checkpoint that is missing, damaged, of another version or of another model."""


def save_checkpoint(path: str | Path, *, state: Mapping[str, Any]) -> None:
    """Write a checkpoint so that at any moment `path` holds an old or a new one, whole.

    Parameters
    ----------
    path : path
        The file; its folder exists.
    state : mapping
        The fields of the module's table but ``format`` and ``version``.

    Raises
    ------
    OSError
        The disk is full or not writable; what stood at `path` stands there still.
    """
    path = Path(path)
    missing = set(_FIELDS).symmetric_difference(state)
    if missing:
        raise ValueError(f"a checkpoint holds {_FIELDS}; wrong or missing: {sorted(missing)}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            torch.save({"format": FORMAT, "version": VERSION, **state}, file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def load_checkpoint(path: str | Path) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Parameters
    ----------
    path : path
        The file.

    Returns
    -------
    dict
        The fields of the module's table.

    Raises
    ------
    CheckpointError
        No such file, not a checkpoint of this format and version, or damaged.
    """
    path = Path(path)
    if not path.is_file():
        raise CheckpointError(
            "no such checkpoint", file=path, advice="name a file such as runs/NAME/checkpoints/*.pt"
        )
    try:
        # Checked first: torch takes what is no zip archive for a bare pickle, and believes bytes.
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()
        if damaged is not None:
            raise zipfile.BadZipFile(f"a wrong checksum of {damaged}")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except (zipfile.BadZipFile, RuntimeError, pickle.UnpicklingError) as error:
        raise CheckpointError(
            "cannot be read as a checkpoint",
            file=path,
            found=str(error).splitlines()[0],
            advice="it is damaged or of another program; remove it and use an older one",
        ) from error
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
    return state


class CheckpointFolder:
    """The checkpoints of a run: the last few by step, and the best.

    Parameters
    ----------
    folder : path
        Created when absent. Left-overs of a killed save are removed.
    keep_last : int
        How many of the latest to keep, at least 1.
    """

    def __init__(self, folder: str | Path, *, keep_last: int) -> None:
        self.folder = Path(folder)
        self.keep_last = keep_last
        self.folder.mkdir(parents=True, exist_ok=True)
        for leftover in self.folder.glob(".*.tmp"):
            leftover.unlink()

    @property
    def best(self) -> Path:
        """Where the checkpoint with the lowest validation loss stands, if there is one."""
        return self.folder / "best.pt"

    def steps(self) -> list[int]:
        """List the steps that have a checkpoint, ascending."""
        names = (_NAME.fullmatch(path.name) for path in self.folder.iterdir())
        return sorted(int(name[1]) for name in names if name)

    def path(self, step: int) -> Path:
        """Name the file of a step."""
        return self.folder / f"step-{step:08d}.pt"

    def latest(self) -> Path | None:
        """Name the checkpoint of the highest step, None when there is none."""
        steps = self.steps()
        return self.path(steps[-1]) if steps else None

    def save(self, state: Mapping[str, Any], *, best: bool) -> Path:
        """Write the checkpoint of ``state["step"]``, then remove what is older than the last few.

        Parameters
        ----------
        state : mapping
            As for `save_checkpoint`.
        best : bool
            Make it the best one too.

        Returns
        -------
        path
            The file written.
        """
        path = self.path(state["step"])
        save_checkpoint(path, state=state)
        if best:
            self._link_best(path)
        for step in self.steps()[: -self.keep_last]:
            self.path(step).unlink()
        return path

    def _link_best(self, path: Path) -> None:
        # A link costs no second copy, and replacing keeps the change atomic.
        temporary = self.folder / f".best.{os.getpid()}.tmp"
        temporary.unlink(missing_ok=True)
        try:
            os.link(path, temporary)
        except OSError:  # a file system without hard links
            temporary.write_bytes(path.read_bytes())
        os.replace(temporary, self.best)
        _sync_folder(self.folder)


def _sync_folder(folder: Path) -> None:
    """Make a rename in the folder survive a loss of power."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
