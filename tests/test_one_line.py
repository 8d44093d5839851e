"""Rare faults are reported in one line: deep nesting, odd names, unknown classes."""

from __future__ import annotations

import os
import pickle
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
import pytest
import torch
from click.testing import CliRunner

from clr_eval.cli import embed_command
from clr_eval.study.cli import study_command
from clr_train.cli import train_command
from clr_train.export.files import load_encoder
from clr_train.training.checkpoint import CheckpointError
from pilarnet_convert import convert, executors
from pilarnet_convert.cli import convert_command, stats_command
from pilarnet_view.cli import view_command
from tests import damage
from tests.pilarnet_convert.outputs import contents
from tests.sample import SAMPLE

#: Deeper than Python's stack, and as deep as it just reads.
DEPTHS = (5000, pytest.param(900, marks=pytest.mark.slow))
#: A name of bytes that are no UTF-8, as file systems may hold.
ODD = os.fsdecode(b"caf\xe9")


def fails(command: click.Command, arguments: Sequence[object], *says: str, code: int = 1) -> None:
    result = CliRunner().invoke(command, [str(a) for a in arguments])
    assert result.exit_code == code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert len(line) < 1000
    for words in says:
        assert words in line


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("one-line") / "shards"
    convert(SAMPLE, out, workers=1, events_per_shard=10)
    return out


@pytest.mark.parametrize("depth", DEPTHS)
def test_json_that_is_nested_deeply(tmp_path: Path, good: Path, depth: int):
    deep = "[" * depth + "]" * depth
    bad = shutil.copytree(good, tmp_path / "bad")
    for name in ("zarr.json", "train/00000/zarr.json", "train/00000/energy/zarr.json"):
        text = (good / name).read_text()
        begin = '"attributes": {'
        (bad / name).write_text(text.replace(begin, f'{begin}"a": {deep}, ', 1))
        fails(stats_command, [bad, "--verify"], "convert again with --overwrite")
        if name == "zarr.json":
            fails(train_command, ["--shards", bad, "--out", tmp_path / "run"], "zarr.json")
            fails(convert_command, ["--input", SAMPLE, "--out", bad, "--resume", "--workers", 1])
        (bad / name).write_text(text)
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/config.json").write_text(deep)
    with pytest.raises(CheckpointError, match="not the description of an exported encoder"):
        load_encoder(tmp_path / "encoder")


@pytest.mark.parametrize("depth", DEPTHS)
@pytest.mark.parametrize("name", ["manifest", "tasks/00000.json"])
def test_records_of_a_conversion_that_are_nested_deeply(
    tmp_path: Path, good: Path, monkeypatch: pytest.MonkeyPatch, depth: int, name: str
):
    out = tmp_path / "shards"

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("pilarnet_convert.runner.TaskRunner.finish", stop)
        with pytest.raises(KeyboardInterrupt):
            convert(SAMPLE, out, workers=1, events_per_shard=10)
    (out / ".conversion/begun" / name).write_text('{"a": ' * depth + "1" + "}" * depth)
    convert(SAMPLE, out, workers=1, events_per_shard=10, resume=True)
    assert contents(out) == contents(good)


@pytest.mark.parametrize("depth", DEPTHS)
def test_configurations_that_are_nested_deeply(tmp_path: Path, depth: int):
    file = tmp_path / "a.toml"
    for text in ("seed = " + "[" * depth + "]" * depth, "a" + ".a" * depth + " = 1"):
        file.write_text(text)
        fails(train_command, ["--config", file, "--shards", "x"], str(file), code=2)
        fails(study_command, [file, "--out", tmp_path / "study"], str(file), code=2)


@pytest.mark.parametrize("field", ["config", "encoder", "model", "stream", "progress"])
def test_a_checkpoint_that_is_nested_deeply(tmp_path: Path, good: Path, field: str):
    deep: Any = 1
    for _ in range(2000):
        deep = [deep]
    state: dict[str, Any] = {"format": "pilarnet-clr-checkpoint", "version": 1, "step": 1}
    for name in ("model", "encoder", "optimizer", "stream", "random", "config", "progress"):
        state[name] = {"seed": deep} if name == field else {}
    before = sys.getrecursionlimit()
    sys.setrecursionlimit(20_000)
    # The pickler written in C has a limit of its own in Python 3.12.
    in_python = SimpleNamespace(__name__="pickle", Pickler=pickle._Pickler)
    try:
        torch.save(state, tmp_path / "a.pt", pickle_module=in_python)
    finally:
        sys.setrecursionlimit(before)
    arguments = ["--checkpoint", tmp_path / "a.pt", "--shards", good, "--out", tmp_path / "a.npz"]
    fails(embed_command, arguments, "a.pt")


def test_a_tree_of_an_unknown_class(tmp_path: Path):
    data = SAMPLE.read_bytes()
    for name in (damage.PARTICLES, "sparse3d_data_tree"):
        key = bytes([len(name)]) + name.encode()
        changed = data.replace(b"\x05TTree" + key, b"\x05TBush" + key)
        assert changed != data
        (tmp_path / f"{name}.root").write_bytes(changed)
    bad = tmp_path / f"{damage.PARTICLES}.root"
    arguments = ["--input", bad, "--out", tmp_path / "out", "--workers", 1]
    fails(convert_command, arguments, f"{bad}: {damage.PARTICLES}: not a tree", "found TBush")
    # One that is not needed does no harm.
    convert(tmp_path / "sparse3d_data_tree.root", tmp_path / "out", workers=1, events_per_shard=10)


def test_names_that_are_not_utf_8(tmp_path: Path, good: Path):
    """They are read and written where files are; texts that name them are one line."""
    folder = tmp_path / ODD
    folder.mkdir()
    file = Path(shutil.copy(SAMPLE, folder / f"{ODD}.root"))
    shards = convert(file, folder / "shards", workers=1, events_per_shard=10)
    assert shards.num_particles() > 0
    for arguments in (["--input", folder, "--check", "--workers", 1], [folder / "shards"]):
        command = convert_command if "--check" in arguments else stats_command
        result = CliRunner().invoke(command, [str(a) for a in arguments])
        assert (result.exit_code, result.stderr) == (0, "")
    arguments = ["--input", folder / "none.root", "--out", tmp_path / "out"]
    fails(convert_command, arguments, "no such file")
    for name in ("a.html", "a.png"):
        arguments = [file, "--entry", 3, "--out", tmp_path / name]
        fails(view_command, arguments, "not UTF-8", "rename it")


@pytest.mark.slow
def test_a_run_on_shards_whose_name_is_not_utf_8(tmp_path: Path, good: Path):
    shards = Path(shutil.copytree(good, tmp_path / ODD))
    options = ["--model=zepto", "--batch-size=20", "--max-steps=1", "--device=cpu"]
    arguments = ["--shards", shards, "--out", tmp_path / "run", *options]
    fails(train_command, arguments, "not UTF-8", "rename it")


def test_a_system_that_does_not_say_which_cores_are_ours(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(os, "sched_getaffinity")  # as on macOS
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    with executors.running_on(None, workers=None, dask=None) as workers:
        assert workers.in_flight == 1


def test_a_lack_of_memory_is_one_line(monkeypatch: pytest.MonkeyPatch, good: Path):
    def lack(*_: object, **__: object) -> None:
        raise MemoryError

    monkeypatch.setattr("pilarnet_convert.cli.statistics", lack)
    fails(stats_command, [good], "out of memory")
