"""Checkpoints: whole or absent, readable without running code, refused when they do not fit."""

from __future__ import annotations

import functools
import importlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from clr_train.training.checkpoint import (
    CheckpointError,
    CheckpointFolder,
    load_checkpoint,
    save_checkpoint,
)


def _state(step: int, size: int = 4) -> dict[str, Any]:
    return {
        "model": {"weight": torch.full((size,), float(step))},
        "encoder": {"dims": [4, 8]},
        "optimizer": {"state": {0: {"step": torch.tensor(float(step))}}, "param_groups": []},
        "step": step,
        "stream": {"epoch": 1, "batch": 2},
        "random": {"cpu": torch.get_rng_state()},
        "config": {"lr": 0.1, "classes": ["muon"], "max_steps": None},
        "progress": {"seconds": 1.5},
    }


def test_what_is_saved_is_loaded(tmp_path: Path) -> None:
    state = _state(3)
    save_checkpoint(tmp_path / "a.pt", state=state)
    loaded = load_checkpoint(tmp_path / "a.pt")
    assert loaded.pop("format") == "pilarnet-clr-checkpoint"
    assert loaded.pop("version") == 1
    assert loaded["step"] == 3
    assert loaded["config"] == state["config"]
    assert torch.equal(loaded["model"]["weight"], state["model"]["weight"])
    assert os.listdir(tmp_path) == ["a.pt"]


@pytest.mark.parametrize("limit", [100, 20_000, 40_500])
def test_a_full_disk_leaves_the_old_one(tmp_path: Path, limit: int) -> None:
    """A limit on the size of files stands for a full disk."""
    save_checkpoint(tmp_path / "a.pt", state=_state(1))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, before[1]))
    try:
        with pytest.raises(OSError, match=r"File too large: '.*a\.pt'"):
            save_checkpoint(tmp_path / "a.pt", state=_state(2, size=10_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert load_checkpoint(tmp_path / "a.pt")["step"] == 1
    assert os.listdir(tmp_path) == ["a.pt"]


_SAVE_FOR_EVER = """
import sys, torch
sys.path.insert(0, sys.argv[2])
from test_checkpoint import _state
from clr_train.training.checkpoint import CheckpointFolder
folder = CheckpointFolder(sys.argv[1], keep_last=2)
step = 0
while True:
    step += 1
    folder.save(_state(step, size=2_000_000), best=step % 2 == 0)
    print(step, flush=True)
"""


def test_killed_at_any_moment_every_file_is_whole(tmp_path: Path) -> None:
    command = [sys.executable, "-c", _SAVE_FOR_EVER, str(tmp_path), str(Path(__file__).parent)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if int(line) == 4:
                time.sleep(0.013)  # somewhere inside the next save
                process.send_signal(signal.SIGKILL)
    found = sorted(tmp_path.glob("*.pt"))
    assert len(found) >= 3
    for path in found:
        state = load_checkpoint(path)
        assert bool((state["model"]["weight"] == state["step"]).all())
    CheckpointFolder(tmp_path, keep_last=2)
    assert not list(tmp_path.glob(".*"))


def test_the_last_few_and_the_best_are_kept(tmp_path: Path) -> None:
    folder = CheckpointFolder(tmp_path / "checkpoints", keep_last=2)
    assert folder.latest() is None
    for step in (10, 20, 30, 40):
        folder.save(_state(step), best=step in (10, 20))
    assert folder.steps() == [30, 40]
    assert folder.latest() == folder.path(40)
    assert load_checkpoint(folder.best)["step"] == 20


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"none\.pt: no such checkpoint"):
        load_checkpoint(tmp_path / "none.pt")


@pytest.mark.parametrize("share", [0.0, 0.3, 0.98])
def test_a_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, state=_state(1))
    data = path.read_bytes()
    path.write_bytes(data[: int(share * len(data))])
    with pytest.raises(CheckpointError, match="cannot be read as a checkpoint") as caught:
        load_checkpoint(path)
    assert "\n" not in str(caught.value)


def test_a_flipped_byte_is_noticed(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    save_checkpoint(path, state=_state(1, size=10_000))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1  # inside the largest tensor
    path.write_bytes(data)
    with pytest.raises(CheckpointError, match="wrong checksum"):
        load_checkpoint(path)


def test_a_foreign_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"state_dict": {}}, path)
    with pytest.raises(CheckpointError, match=r"not a checkpoint of clr-train \(expected pilarnet"):
        load_checkpoint(path)
    path.write_text("step,loss\n")
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint(path)


class _Bomb:
    """Calls a function when it is unpickled."""

    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> Any:
        return self.call


_SHELL = "touch exploded"
_PYTHON = "open('exploded', 'w').close()"


class _State:
    """Runs code in the function that sets its state."""

    def __reduce__(self) -> Any:
        return _Bomb, (os.system, _SHELL), None, None, None, _set_state


def _set_state(*_: object) -> None:
    os.system(_SHELL)


_BOMBS: dict[str, Callable[[], object]] = {
    "system": lambda: _Bomb(os.system, _SHELL),
    "eval": lambda: _Bomb(eval, _PYTHON),
    "exec": lambda: _Bomb(exec, _PYTHON),
    "popen": lambda: _Bomb(subprocess.Popen, ["touch", "exploded"]),
    "partial": lambda: _Bomb(functools.partial, os.system, _SHELL),
    "attribute": lambda: _Bomb(getattr, _Bomb(importlib.import_module, "os"), "system"),
    "state": _State,
    "torch": lambda: _Bomb(torch.hub.load, "nobody/nothing", "exploded"),
}


@pytest.mark.parametrize("name", _BOMBS)
@pytest.mark.parametrize("hidden", [True, False])
@pytest.mark.parametrize("as_archive", [True, False])
def test_code_in_a_file_is_not_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, hidden: bool, as_archive: bool
) -> None:
    monkeypatch.chdir(tmp_path)
    bomb = _BOMBS[name]()
    state = {"format": "pilarnet-clr-checkpoint", "version": 1, **_state(1), "progress": bomb}
    torch.save(state if hidden else bomb, "a.pt", _use_new_zipfile_serialization=as_archive)
    with pytest.raises(CheckpointError, match="cannot be read"):
        load_checkpoint("a.pt")
    assert not (tmp_path / "exploded").exists()


def test_another_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.pt"
    torch.save({"format": "pilarnet-clr-checkpoint", "version": 2, **_state(1)}, path)
    with pytest.raises(CheckpointError, match=r"another version \(expected 1, found 2\)"):
        load_checkpoint(path)


def test_an_incomplete_state_is_refused(tmp_path: Path) -> None:
    state = _state(1)
    del state["optimizer"]
    with pytest.raises(ValueError, match="optimizer"):
        save_checkpoint(tmp_path / "a.pt", state=state)
    torch.save({"format": "pilarnet-clr-checkpoint", "version": 1, **state}, tmp_path / "a.pt")
    with pytest.raises(CheckpointError, match=r"incomplete checkpoint \(expected optimizer"):
        load_checkpoint(tmp_path / "a.pt")
