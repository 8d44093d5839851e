"""Shards of the bundled sample, made once, and the command as a user runs it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from pilarnet_convert import convert
from pilarnet_view.cli import view_command
from tests.sample import SAMPLE

Run = Callable[..., Result]


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Make shards of 161 particles, several of them in the train split; test has none."""
    path = tmp_path_factory.mktemp("view") / "shards"
    convert(SAMPLE, path, splits="train=0.9,val=0.1", events_per_shard=5, workers=1)
    return path


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Run the command in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def run(*args: str | Path) -> Result:
        return CliRunner().invoke(view_command, [str(a) for a in args])

    return run
