"""Batches of labelled and unlabelled particles."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import pytest
import torch

from clr_train.config import TrainConfig
from clr_train.runtime.processes import World
from clr_train.training.resume import start_run
from pilarnet_convert.options import OptionError
from tests.clr_train.species import make_shards

CPU = World(rank=0, size=1, device=torch.device("cpu"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = tmp_path_factory.mktemp("mixed")
    sizes = {"train": 50, "val": 10, "test": 10}
    return (
        make_shards(path / "nominal", sizes),
        make_shards(path / "target", {**sizes, "train": 30}),
    )


def test_half_of_a_batch_has_no_label_and_both_go_on_by_themselves(
    folders: tuple[Path, Path],
) -> None:
    nominal, target = (str(path) for path in folders)
    config = TrainConfig(shards=nominal, unlabelled=target, batch_size=20, model="zepto")
    alone = TrainConfig(shards=nominal, batch_size=10, model="zepto")
    stream, plain = (start_run(c, world=CPU).stream for c in (config, alone))
    assert stream.num_batches == plain.num_batches
    seen = [batch for epoch in (0, 1) for batch in stream.batches(epoch)]
    for batch, expected in zip(seen, (b for e in (0, 1) for b in plain.batches(e)), strict=True):
        first, second = batch.split(10)
        assert torch.equal(first.particle, expected.particle)
        assert torch.equal(first.xyz, expected.xyz)
        assert torch.equal(first.label, expected.label)
        assert bool((second.label == -1).all())
    unlabelled = torch.cat([batch.particle[10:] for batch in seen])
    size = start_run(TrainConfig(shards=target, batch_size=10, model="zepto"), world=CPU)
    round_trip = 10 * size.stream.num_batches
    assert len(set(unlabelled[:round_trip].tolist())) == round_trip  # each once, then again
    again = list(islice(stream.batches(1, 2), 1))
    assert torch.equal(again[0].particle, seen[stream.num_batches + 2].particle)
    assert any(line.startswith("unlabelled train: ") for line in stream.lines())


def test_an_odd_batch_is_refused(folders: tuple[Path, Path]) -> None:
    nominal, target = (str(path) for path in folders)
    with pytest.raises(OptionError, match=r"--batch-size: .*found 21"):
        start_run(TrainConfig(shards=nominal, unlabelled=target, batch_size=21), world=CPU)
