"""The folder of a run: refused when in use, cut when a run is resumed; and signals."""

from __future__ import annotations

import csv
import os
import signal
import subprocess
import sys
import time
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
import torch.distributed as dist
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from clr_train.config import TrainConfig, read_config
from clr_train.runtime import processes
from clr_train.runtime.processes import join_world, pick_device
from clr_train.runtime.signals import Interrupted, StopRequest
from clr_train.training.run_folder import COLUMNS, RunFolder
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError

ENDING = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)


def _open(path: Path, *, resume: bool = False, overwrite: bool = False) -> RunFolder:
    return RunFolder(path, resume=resume, overwrite=overwrite, facts={})


def _rows(path: Path) -> list[dict[str, str]]:
    with open(path / "metrics.csv", newline="") as file:
        return list(csv.DictReader(file))


def test_a_folder_in_use_is_refused(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as folder:
        folder.begin(TrainConfig(), next_step=0)
    with pytest.raises(PilarnetError, match=r"run: --out: the output folder is in use; .*--resume"):
        _open(tmp_path / "run")
    with _open(tmp_path / "run", resume=True):
        pass


def test_a_folder_of_something_else_is_refused_and_kept(tmp_path: Path) -> None:
    files = ["main.py", "checkpoints/epoch=3.ckpt", "log.txt", "config.toml"]
    (tmp_path / "checkpoints").mkdir()
    for name in files:
        (tmp_path / name).write_text("title = 'work'")
    for overwrite in (False, True):
        with pytest.raises(
            PilarnetError, match=r"in use \(found files, but neither config.toml nor"
        ):
            _open(tmp_path, overwrite=overwrite)
    for name in files:
        assert (tmp_path / name).read_text() == "title = 'work'"


def test_overwriting_a_run_leaves_the_files_of_others(tmp_path: Path) -> None:
    with _open(tmp_path) as folder:
        folder.begin(TrainConfig(shards="somewhere"), next_step=0)
    folder.checkpoints.mkdir()
    ours = ["best.pt", "step-00000003.pt", ".step-00000003.pt.tmp", ".best.pt.77.tmp"]
    others = ["checkpoints/epoch=3.ckpt", "checkpoints/.notes.tmp", "thesis.txt"]
    for name in [*(f"checkpoints/{name}" for name in ours), *others]:
        (tmp_path / name).write_text("years of work")
    with _open(tmp_path, overwrite=True):
        assert sorted(p.name for p in folder.checkpoints.iterdir()) == [
            ".notes.tmp",
            "epoch=3.ckpt",
        ]
        assert not (tmp_path / "metrics.csv").exists()
        assert not (tmp_path / "config.toml").exists()
    for name in others:
        assert (tmp_path / name).read_text() == "years of work"


@pytest.mark.parametrize("kept", ["config.toml", "metrics.csv"])
def test_a_run_is_known_by_either_of_its_files(tmp_path: Path, kept: str) -> None:
    with _open(tmp_path) as folder:
        folder.begin(TrainConfig(shards="somewhere"), next_step=0)
    for name in {"config.toml", "metrics.csv"} - {kept}:
        (tmp_path / name).unlink()
    with _open(tmp_path, overwrite=True):
        assert not (tmp_path / kept).exists()


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("")
    with pytest.raises(PilarnetError, match="is not a folder"):
        _open(tmp_path / "run")


def test_what_failed_before_it_began_does_not_block_the_folder(tmp_path: Path) -> None:
    with _open(tmp_path / "run") as folder:
        folder.checkpoints.mkdir()
    for overwrite in (False, True):
        with _open(tmp_path / "run", overwrite=overwrite):
            pass


def test_two_processes_do_not_share_a_folder(tmp_path: Path) -> None:
    with (
        _open(tmp_path),
        pytest.raises(PilarnetError, match="another process is training into this folder"),
    ):
        _open(tmp_path, resume=True)
    with _open(tmp_path, resume=True):
        pass


def test_metrics_are_cut_to_the_checkpoint(tmp_path: Path) -> None:
    with _open(tmp_path) as folder:
        folder.begin(TrainConfig(), next_step=0)
        for step in range(5):
            folder.log({"step": step, "epoch": 0, "loss": 0.1 + step})
    path, rest = tmp_path / "metrics.csv", b"," * (len(COLUMNS) - 1) + b"\n"
    header, rows = path.read_bytes().split(b"\n", 1)
    damaged = [b"x" + rest, b"9" * 5000 + rest, b"\xff\xfe\n", b'"\n', b"x" * 200_000 + b"\n"]
    killed = b"5,0,5.1"  # an incomplete row
    path.write_bytes(b"".join([header, b"\n", *damaged, rows, killed]))
    with _open(tmp_path, resume=True) as folder:
        folder.begin(TrainConfig(), next_step=3)
        folder.log({"step": 3, "epoch": 1, "loss": 7.0, "val_loss": 8.0})
    rows = _rows(tmp_path)
    assert tuple(rows[0]) == COLUMNS
    assert [(r["step"], r["loss"], r["val_loss"]) for r in rows] == [
        ("0", "0.1", ""),
        ("1", "1.1", ""),
        ("2", "2.1", ""),
        ("3", "7", "8"),
    ]
    with _open(tmp_path, resume=True) as folder:
        folder.begin(TrainConfig(), next_step=0)  # killed before the first checkpoint
    assert _rows(tmp_path) == []


def test_logs_and_configuration_agree(tmp_path: Path) -> None:
    config = TrainConfig(shards="somewhere", seed=3)
    with _open(tmp_path) as folder:
        folder.begin(config, next_step=0)
        folder.log({"step": 1, "epoch": 0, "loss": 2.5, "val_loss": 3.5})
        with pytest.raises(ValueError, match="speed"):
            folder.log({"step": 2, "speed": 1.0})
    assert TrainConfig.from_dict(read_config(tmp_path / "config.toml")) == config
    events = EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("training/loss")] == [(1, 2.5)]
    assert [(e.step, e.value) for e in events.Scalars("validation/loss")] == [(1, 3.5)]


def test_a_signal_is_remembered_and_its_repeats_are_ignored() -> None:
    before = [signal.getsignal(number) for number in ENDING]
    for number in ENDING:
        with StopRequest() as stop:
            os.kill(os.getpid(), number)
            os.kill(os.getpid(), signal.SIGTERM)  # as a launcher that passes it on
            assert stop.signal == number
    assert [signal.getsignal(number) for number in ENDING] == before


def test_a_later_signal_has_its_usual_effect() -> None:
    script = (
        "import os, signal\n"
        "from clr_train.runtime.signals import StopRequest\n"
        "from pilarnet_convert.console import signals\n"
        "with StopRequest():\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('alive', flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('alive', flush=True)\n"
        "    signals._REPEAT_SECONDS = 0\n"
        "    os.kill(os.getpid(), signal.SIGTERM); print('still alive', flush=True)\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True)
    assert done.returncode == -signal.SIGTERM
    assert done.stdout == "alive\nalive\n"


def test_a_signal_ignored_before_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with StopRequest() as stop:
            os.kill(os.getpid(), signal.SIGHUP)
            assert stop.signal == 0
    finally:
        signal.signal(signal.SIGHUP, before)


def test_what_may_be_given_up_ends_at_once() -> None:
    with StopRequest() as stop:
        with pytest.raises(Interrupted), stop.interrupting():  # noqa: PT012
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        with pytest.raises(Interrupted), stop.interrupting():  # it came before
            raise AssertionError


@pytest.mark.parametrize(
    ("variables", "found"),
    [
        ({"WORLD_SIZE": "2"}, "RANK is not set, LOCAL_RANK is not set, MASTER_ADDR is not set"),
        ({"WORLD_SIZE": "two"}, "WORLD_SIZE=two"),
        ({"WORLD_SIZE": ""}, "WORLD_SIZE="),
        ({"LOCAL_RANK": "-1"}, "LOCAL_RANK=-1"),
        # Nothing listens at the port, as where the launcher was killed.
        (
            {"RANK": "1", "LOCAL_RANK": "1", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1"}
            | {"MASTER_PORT": "1"},
            "DistNetworkError: .* trying to connect",
        ),
    ],
)
def test_half_a_launcher_is_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], found: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(processes, "_JOINING", timedelta(seconds=0.2))
    with pytest.raises(PilarnetError, match=f"cannot be joined.*found {found}"), join_world("cpu"):
        pass


@pytest.mark.parametrize(("device", "ends"), [("cpu", [1, 2]), ("cuda", [2])])
def test_after_an_error_a_process_with_a_gpu_does_not_wait_for_the_others(
    monkeypatch: pytest.MonkeyPatch, device: str, ends: list[int]
) -> None:
    variables = {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "a"}
    for name, value in (variables | {"MASTER_PORT": "1"}).items():
        monkeypatch.setenv(name, value)
    store = SimpleNamespace(set_timeout=lambda _time: None)
    monkeypatch.setattr(processes, "rendezvous", lambda *_, **__: iter([(store, 0, 2)]))
    monkeypatch.setattr(processes, "pick_device", lambda name, **_: torch.device(name))
    monkeypatch.setattr(torch.cuda, "set_device", lambda _device: None)
    monkeypatch.setattr(dist, "init_process_group", lambda *_, **__: None)
    ended: list[int] = []
    monkeypatch.setattr(dist, "destroy_process_group", lambda: ended.append(number))
    number = 1
    with pytest.raises(OSError, match="full"), join_world(device):
        raise OSError("full")
    number = 2
    with join_world(device):
        pass
    assert ended == ends


@pytest.mark.parametrize(
    ("name", "local_rank", "count", "expected"),
    [
        ("auto", 1, 2, "cuda:1"),
        ("cuda:1", 0, 2, "cuda:1"),
        ("cuda:0", 1, 1, "cuda:0"),  # each process sees its own GPU only
        ("cuda:0", 1, 2, "--device: one GPU for several processes"),
        ("cuda", 1, 1, "no such GPU .*--device cuda:0"),
    ],
)
def test_each_process_takes_its_own_gpu(
    monkeypatch: pytest.MonkeyPatch, name: str, local_rank: int, count: int, expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: count)
    if expected.startswith("cuda"):
        assert str(pick_device(name, local_rank=local_rank)) == expected
        return
    with pytest.raises(OptionError, match=expected):
        pick_device(name, local_rank=local_rank)
