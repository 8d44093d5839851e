"""The commands that read shards, on several sets at once, one of them in an S3 store."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from clr_eval.cli import embed_command, eval_command
from clr_train.cli import train_command
from clr_train.config import TrainConfig, read_config
from clr_train.training.checkpoint import load_checkpoint
from pilarnet_convert import convert, open_shards
from pilarnet_view.cli import view_command
from tests.pilarnet_convert.inputs import MODERN
from tests.pilarnet_convert.outputs import run_stats
from tests.remote.s3_server import S3Server
from tests.sample import SAMPLE

SPLITS = "train=0.6,val=0.4"


def run(command: object, *arguments: str | Path) -> Result:
    return CliRunner().invoke(command, [str(argument) for argument in arguments])


@pytest.fixture
def sets(tmp_path: Path, s3: S3Server) -> tuple[Path, str]:
    """A local set, and another one in a store."""
    local, remote = tmp_path / "local", f"s3://{s3.bucket}/set"
    convert(SAMPLE, local, workers=1, splits=SPLITS)
    convert(MODERN, remote, workers=1, splits=SPLITS)
    return local, remote


def test_a_run_on_two_sets(tmp_path, sets):
    local, remote = sets
    out = tmp_path / "run"
    options = ("--batch-size", 32, "--eval-particles", 20, "--no-final-probe", "--device", "cpu")
    both = ("--shards", local, "--shards", remote)
    result = run(train_command, *both, "--out", out, *options, "--max-steps", 1)
    assert result.exit_code == 0, result.output
    assert TrainConfig.from_dict(read_config(out / "config.toml")).shards == (str(local), remote)
    checkpoint = out / "checkpoints" / "best.pt"
    identity = load_checkpoint(checkpoint)["stream"]["shards"]
    assert identity == "+".join(open_shards(each).identity for each in sets)

    # The run continues with the same sets only: not even with these in another order.
    swapped = ("--shards", remote, "--shards", local)
    result = run(train_command, *swapped, "--out", out, "--resume", "--max-steps", 2)
    assert result.exit_code == 1
    assert "the checkpoint was trained on other shards" in result.stderr
    result = run(train_command, "--out", out, "--resume", "--max-steps", 2)
    assert result.exit_code == 0, result.output

    table = tmp_path / "features.npz"
    arguments = ("--checkpoint", checkpoint, "--split", "val", "--device", "cpu", "--out", table)
    result = run(embed_command, *both, *arguments)
    assert result.exit_code == 0, result.output
    with np.load(table) as found:
        source = found["source"]
    expected = [
        np.full(open_shards(each).num_particles("val"), number) for number, each in enumerate(sets)
    ]
    assert np.array_equal(source, np.concatenate(expected))


@pytest.mark.slow
def test_a_report_from_two_sets(tmp_path, sets):
    local, remote = sets
    out, report = tmp_path / "run", tmp_path / "report"
    both = ("--shards", local, "--shards", remote, "--device", "cpu")
    options = ("--batch-size", 32, "--eval-particles", 20, "--no-final-probe", "--max-steps", 1)
    assert run(train_command, *both, "--out", out, *options).exit_code == 0
    small = ("--parts", "probe", "--fractions", 1, "--seeds", 0, "--resamples", 0)
    arguments = ("--checkpoint", out, "--out", report, "--test-split", "val")
    result = run(eval_command, *both, *arguments, *small, "--max-particles", 100)
    assert result.exit_code == 0, result.output
    text = (report / "report.md").read_text()
    assert str(local) in text
    assert remote in text


def test_statistics_of_two_sets_are_the_sums(sets):
    import pandas as pd

    def counts(*shards: object) -> pd.Series:
        from io import StringIO

        text = run_stats(*shards, "--format", "csv").stdout
        return pd.read_csv(StringIO(text), index_col=["split", "class"])["count"]

    assert counts(*sets).equals(counts(sets[0]) + counts(sets[1]))


def test_a_picture_of_remote_particles(tmp_path, sets):
    pytest.importorskip("matplotlib")
    picture = tmp_path / "particles.png"
    result = run(view_command, sets[1], "--count", 2, "--png", picture)
    assert result.exit_code == 0, result.output
    assert picture.read_bytes().startswith(b"\x89PNG")
    assert "set: particles of the train split" in result.output
