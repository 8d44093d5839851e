"""Steps of training on the smallest and the largest batches, on the CPU and on a GPU."""

from __future__ import annotations

from functools import partial

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.training.gradient_cache import backpropagate
from tests.clr_train.batches import as_batch, make_batch

DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)]
SLOW_DEVICES = [pytest.param("cpu", marks=pytest.mark.slow), DEVICES[1]]


def make_shower(num_voxels: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    """Make a particle of so many distinct voxels, dense in its middle."""
    generator = np.random.default_rng(0)
    drawn = generator.normal(384, (30, 30, 110), (4 * num_voxels, 3)).clip(0, 767).astype(np.int32)
    xyz = generator.permutation(np.unique(drawn, axis=0))[:num_voxels]
    assert len(xyz) == num_voxels
    return xyz, generator.exponential(0.7, num_voxels).astype(np.float32)


def gradients(
    batch: ParticleBatch, *, device: str, model: str, micro_batch_size: int | None = None
) -> tuple[float, torch.Tensor]:
    """Return the loss of a batch and the gradients of all weights, joined."""
    there = torch.device(device)
    learner = Learner(TrainConfig(model=model), device=there)
    loss = backpropagate(
        batch.to(there),
        project=partial(learner.project, epoch=0),
        loss=learner.loss,
        micro_batch_size=micro_batch_size,
    )
    rows = [p.grad.flatten() for p in learner.model.parameters() if p.grad is not None]
    return float(loss), torch.cat(rows).cpu()


@pytest.mark.parametrize("model", ["atto", "zepto"])
@pytest.mark.parametrize("num_voxels", [1, 2, 30])
@pytest.mark.parametrize("device", DEVICES)
def test_one_particle(device: str, num_voxels: int, model: str) -> None:
    xyz = np.arange(3 * num_voxels, dtype=np.int32).reshape(-1, 3)
    batch = as_batch([(xyz, np.ones(num_voxels, np.float32))])
    loss, gradient = gradients(batch, device=device, model=model)
    assert loss == 0.0  # the other view is the only one to choose from
    assert gradient.isfinite().all()


@pytest.mark.parametrize("device", SLOW_DEVICES)
def test_a_shower_of_300_000_voxels(device: str) -> None:
    batch = ParticleBatch.concatenate([as_batch([make_shower(300_000)]), make_batch(1, 30)])
    loss, gradient = gradients(batch, device=device, model="atto")
    assert 0.0 < loss < 10.0
    assert gradient.isfinite().all()
    if device == "cuda":
        assert torch.cuda.max_memory_allocated() < 30e9


@pytest.mark.parametrize("device", SLOW_DEVICES)
def test_4_096_particles_in_pieces(device: str) -> None:
    batch = make_batch(2, 4096)
    whole, pieces = (
        gradients(batch, device=device, model="atto", micro_batch_size=size) for size in (None, 512)
    )
    rough = device == "cuda"  # bf16
    assert pieces[0] == pytest.approx(whole[0], rel=1e-2 if rough else 1e-4)
    worst = (pieces[1] - whole[1]).abs().max() / whole[1].abs().max()
    assert worst < (0.1 if rough else 1e-3)
