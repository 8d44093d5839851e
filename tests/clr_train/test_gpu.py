"""A GPU against the CPU: views, network, a run. Each says what may differ, and by how much."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from clr_train import TrainConfig, load_learner, open_stream, pretrain
from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.loss import contrastive_loss
from clr_train.network.encoder import ContrastiveModel
from clr_train.network.models import MODELS
from clr_train.sparse import TorchEngine
from clr_train.views.make import ViewConfig, make_views
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


@pytest.mark.parametrize("use_triton", [False, True])
@pytest.mark.parametrize("model", ["atto", "nano"])
def test_the_network_and_its_gradients_are_the_same(
    model: str, use_triton: bool, batch: ParticleBatch
) -> None:
    sites = make_views(batch, seed=0, epoch=0, view=0, count=2, config=ViewConfig())
    found = []
    for device in ("cpu", DEVICE):
        torch.manual_seed(0)
        network = ContrastiveModel(MODELS[model]).to(device).eval()
        there = replace(sites, keys=sites.keys.to(device), features=sites.features.to(device))
        features, projection = network(there, TorchEngine(use_triton=use_triton))
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
