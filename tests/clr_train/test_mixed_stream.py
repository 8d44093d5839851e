"""Batches of labelled and unlabelled particles."""

from __future__ import annotations

import dataclasses
from itertools import islice
from pathlib import Path

import pytest
import torch

from clr_train.config import TrainConfig
from clr_train.runtime.processes import World
from clr_train.stream.stream import open_stream
from clr_train.training.resume import start_run
from pilarnet_convert.errors import PilarnetError
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


@pytest.mark.parametrize(("size", "batch_size", "least"), [(1, 21, 2), (4, 20, 8)])
def test_a_batch_whose_halves_cannot_be_shared_is_refused(
    folders: tuple[Path, Path], size: int, batch_size: int, least: int
) -> None:
    nominal, target = (str(path) for path in folders)
    config = TrainConfig(shards=nominal, unlabelled=target, batch_size=batch_size)
    message = rf"--batch-size: .*a multiple of {least}, twice the number .*found {batch_size}"
    with pytest.raises(OptionError, match=message):
        start_run(config, world=World(rank=0, size=size, device=torch.device("cpu")))


def test_both_halves_together_keep_the_voxel_budget(folders: tuple[Path, Path]) -> None:
    nominal, target = (str(path) for path in folders)
    config = TrainConfig(shards=nominal, unlabelled=target, batch_size=20, voxel_budget=401)
    batches = list(start_run(config, world=CPU).stream.batches(0))
    assert len(batches) > 1
    for batch in batches:
        assert batch.num_voxels <= 401
        for half in (batch.label >= 0, batch.label < 0):
            assert 0 < int(batch.offset.diff()[half].sum()) <= 200
    with pytest.raises(OptionError, match=r"--voxel-budget: .*at least 60, .*found 59"):
        start_run(dataclasses.replace(config, voxel_budget=59, min_voxels=30), world=CPU)


def test_the_smallest_batch_has_one_particle_of_each(folders: tuple[Path, Path]) -> None:
    nominal, target = (str(path) for path in folders)
    config = TrainConfig(shards=nominal, unlabelled=target, batch_size=2)
    stream = start_run(config, world=CPU).stream
    assert (next(stream.batches(0)).label >= 0).tolist() == [True, False]
    assert stream.num_batches == 50


def test_a_set_of_fewer_particles_than_half_a_batch_gives_all(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    few = make_shards(tmp_path / "few", {"train": 7})
    config = TrainConfig(shards=str(few), unlabelled=str(folders[1]), batch_size=40)
    stream = start_run(config, world=CPU).stream
    (batch,) = stream.batches(0)
    assert torch.bincount((batch.label < 0).int()).tolist() == [7, 20]
    assert "train: the batch of 20 particles is cut to 7, as an epoch has no more" in stream.lines()


def test_one_particle_is_read_and_not_trained_on(tmp_path: Path) -> None:
    one = make_shards(tmp_path / "one", {"train": 1, "val": 1})
    config = TrainConfig(shards=str(one))
    stream = open_stream(config, split="val")
    assert [batch.num_particles for batch in stream.batches(0)] == [1]
    assert stream.lines()[-1].endswith("is cut to 1, as an epoch has no more")
    message = r"one: train: too few particles to train on \(expected at least 2 .*found 1\)"
    with pytest.raises(PilarnetError, match=message):
        start_run(config, world=CPU)
