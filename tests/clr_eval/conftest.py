"""What the tests of the evaluation share: small shards, and a checkpoint of a few steps."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clr_train import TrainConfig, pretrain
from pilarnet_convert import convert
from tests.clr_train.species import make_shards
from tests.sample import SAMPLE


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Made-up particles whose classes differ in shape and energy."""
    path = tmp_path_factory.mktemp("eval") / "shards"
    return make_shards(path, {"train": 90, "val": 40, "test": 60})


@pytest.fixture(scope="session")
def sample_shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Events of the bundled sample, all of them in the test split."""
    path = tmp_path_factory.mktemp("eval-sample") / "shards"
    convert(SAMPLE, path, splits="train=0,val=0,test=1", max_events=8, workers=1)
    return path


@pytest.fixture(scope="session")
def checkpoint(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An encoder of two steps, with dropped paths."""
    config = TrainConfig(
        shards=str(shards),
        out=str(tmp_path_factory.mktemp("eval-run") / "run"),
        model="atto",
        batch_size=24,
        max_steps=2,
        drop_path=0.1,
        device="cpu",
        engine="torch",
        final_probe=False,
    )
    path = pretrain(config).checkpoint
    assert path is not None
    return path
