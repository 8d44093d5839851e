"""A GPU against the CPU: views, network, a run. Each says what may differ, and by how much."""

from __future__ import annotations

import csv
import os
import shutil
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clr_train import TrainConfig, load_learner, open_stream, pretrain
from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.learner import Learner
from clr_train.loss import contrastive_loss
from clr_train.network.encoder import ContrastiveModel
from clr_train.network.models import MODELS
from clr_train.sparse import Engine, TorchEngine, get_engine
from clr_train.sparse.kernel_map import Sites
from clr_train.training.checkpoint import load_checkpoint
from clr_train.training.gradient_cache import backpropagate
from clr_train.training.optimizer import make_optimizer
from clr_train.views.config import ViewConfig
from clr_train.views.make import as_sites, make_views
from pilarnet_convert.errors import MissingDependencyError
from tests.clr_train.batches import make_batch
from tests.clr_train.species import make_shards
from tests.clr_train.test_views import CONFIGS

pytestmark = pytest.mark.gpu
#: The test code itself is tried with another: ``PILARNET_TEST_DEVICE=cpu make test-gpu``.
DEVICE = os.environ.get("PILARNET_TEST_DEVICE", "cuda")


@pytest.fixture(scope="module")
def batch() -> ParticleBatch:
    return make_batch(21, 200, largest=400)


def _sites(sites: SiteBatch) -> set[tuple[int, ...]]:
    rows = torch.cat([sites.particle[:, None].cpu(), sites.xyz.cpu()], dim=1)
    return set(map(tuple, rows.tolist()))


def _close(found: Tensor, expected: Tensor, *, tolerance: float) -> None:
    found, expected = found.detach().cpu().float(), expected.detach().cpu().float()
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", CONFIGS)
def test_views_are_the_same_but_for_voxels_on_an_edge(name: str, batch: ParticleBatch) -> None:
    here, there = (
        make_views(b, seed=5, epoch=2, view=0, count=2, config=CONFIGS[name])
        for b in (batch, batch.to(torch.device(DEVICE)))
    )
    assert there.features.device.type == DEVICE
    mine, other = _sites(here), _sites(there)
    assert len(mine ^ other) <= 1e-3 * len(mine)
    energy = [
        torch.zeros(v.num_particles).index_add_(0, v.particle.cpu(), v.features[:, 0].cpu())
        for v in (here, there)
    ]
    torch.testing.assert_close(energy[0], energy[1], rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("kernel_size", [3, 7])
def test_levels_and_kernel_maps_are_the_same(kernel_size: int, batch: ParticleBatch) -> None:
    keys = as_sites(batch, energy_transform="none").keys
    found = []
    for device in ("cpu", DEVICE):
        level = Sites(keys.to(device), stride=1, num_particles=batch.num_particles)
        tensors = []
        for factor in (4, 2, 2):
            level, parent, child = level.coarser(factor)
            pairs = level.depthwise_map(kernel_size)
            tensors += [level.keys, parent, child, level.index.offset, *pairs.by_kernel]
            tensors += [pairs.source, pairs.target, pairs.kernel, pairs.row_offset]
        found.append([tensor.cpu() for tensor in tensors])
    for mine, other in zip(*found, strict=True):
        assert torch.equal(mine, other)


def _engine(name: str) -> Engine:
    if name != "minkowski":
        return TorchEngine(use_triton=name == "triton")
    try:
        return get_engine(name, DEVICE)
    except MissingDependencyError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("engine", ["plain", "triton", "minkowski"])
@pytest.mark.parametrize("model", ["atto", "nano", "zepto"])
def test_the_network_and_its_gradients_are_the_same(
    model: str, engine: str, batch: ParticleBatch
) -> None:
    there_engine = _engine(engine)
    sites = make_views(batch, seed=0, epoch=0, view=0, count=2, config=ViewConfig())
    found = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        network = ContrastiveModel(MODELS[model]).to(device).eval()
        there = replace(sites, keys=sites.keys.to(device), features=sites.features.to(device))
        features, projection = network(there, TorchEngine() if device == "cpu" else there_engine)
        loss = contrastive_loss(
            *projection.view(2, batch.num_particles, -1).unbind(), temperature=0.1
        )
        loss.backward()
        found.append((features, projection, loss, [p.grad for p in network.parameters()]))
    here, there = found
    for mine, other in zip(here[:3], there[:3], strict=True):
        _close(other, mine, tolerance=1e-4)
    for mine, other in zip(here[3], there[3], strict=True):
        assert mine is not None
        assert other is not None
        _close(other, mine, tolerance=1e-3)


@pytest.mark.parametrize("model", ["atto", "zepto", "nano"])
def test_the_same_seed_gives_the_same_weights_bit_for_bit(model: str, batch: ParticleBatch) -> None:
    device = torch.device(DEVICE)
    names = ("throw", "noise", "crop", "drop", "rotate", "jitter")
    config = TrainConfig(
        model=model, precision="bf16", augmentations=names, num_augmentations=4, drop_path=0.1
    )
    weights = []
    for _ in range(2):
        learner = Learner(config, device=device)
        optimizer = make_optimizer(learner.model.parameters(), weight_decay=0.05)
        for epoch in range(3):
            optimizer.zero_grad()
            project = partial(learner.project, epoch=epoch)
            backpropagate(batch.to(device), project=project, loss=learner.loss, micro_batch_size=80)
            optimizer.step()
        weights.append([p.detach().cpu() for p in learner.model.parameters()])
    for one, other in zip(*weights, strict=True):
        assert torch.equal(one, other)


def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", {"train": 100})
    config = TrainConfig(
        shards=str(shards), out=str(tmp_path / "whole"), device=DEVICE, model="atto",
        batch_size=24, max_steps=4, epochs=9, workers=1, precision="bf16", checkpoint_every=2,
        final_probe=False,
    )  # fmt: skip
    whole = pretrain(config, say=lambda _line: None).checkpoint
    assert whole is not None
    shutil.copytree(tmp_path / "whole", tmp_path / "again")
    (tmp_path / "again/checkpoints" / whole.name).unlink()
    resumed = replace(config, out=str(tmp_path / "again"))
    again = pretrain(resumed, resume=True, say=lambda _line: None).checkpoint
    assert again is not None
    assert again.name == whole.name
    one, other = (load_checkpoint(path)["model"] for path in (whole, again))
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_a_run_in_bf16_learns_resumes_and_its_encoder_works_on_the_cpu(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", {"train": 100, "val": 40, "test": 40})

    def run(out: str, device: str, *, max_steps: int, resume: bool = False) -> list[float]:
        config = TrainConfig(
            shards=str(shards), out=str(tmp_path / out), device=device, model="atto",
            batch_size=24, max_steps=max_steps, epochs=9, workers=2, precision="bf16", lr=3e-3,
            micro_batch_size=None if out == "whole" else 12, eval_every=100,
        )  # fmt: skip
        result = pretrain(config, resume=resume, say=lambda _line: None)
        assert result.step == max_steps
        with open(tmp_path / out / "metrics.csv", newline="") as file:
            return [float(row["loss"]) for row in csv.DictReader(file) if row["loss"]]

    whole = run("whole", DEVICE, max_steps=30)
    assert sum(whole[-5:]) < sum(whole[:5]) - 0.5
    pieces = run("pieces", DEVICE, max_steps=4)
    assert pieces[0] == pytest.approx(whole[0], rel=0.02)
    assert run("cpu", "cpu", max_steps=1)[0] == pytest.approx(whole[0], rel=0.02)
    assert len(run("pieces", DEVICE, max_steps=6, resume=True)) == 6

    checkpoint = tmp_path / "whole/checkpoints/best.pt"
    config = TrainConfig(shards=str(shards), out="", batch_size=24)
    particles = next(open_stream(config, split="test").sequential(40))
    here, there = (
        load_learner(checkpoint, device=device, precision="fp32").represent(particles)
        for device in ("cpu", DEVICE)
    )
    _close(there, here, tolerance=1e-3)
