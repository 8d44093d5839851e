"""The optimizer and its learning rate, and the gradients of a batch that is embedded in pieces."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from torch import Tensor, nn

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.loss import contrastive_loss
from clr_train.network.models import MODELS
from clr_train.training.gradient_cache import backpropagate
from clr_train.training.optimizer import learning_rate, make_optimizer


def _batch(counts: list[int]) -> ParticleBatch:
    generator = torch.Generator().manual_seed(0)
    offset = torch.tensor([0, *counts]).cumsum(0)
    total = int(offset[-1])
    return ParticleBatch(
        xyz=torch.randint(0, 99, (total, 3), generator=generator, dtype=torch.int32),
        energy=torch.rand(total, generator=generator),
        offset=offset,
        label=torch.arange(len(counts)),
        particle=torch.arange(len(counts)) * 7,
    )


@pytest.mark.parametrize("size", [1, 3, 4, 7])
def test_cached_embeddings_give_the_gradients_of_the_whole_batch(size: int) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Linear(2, 8), nn.GELU(), nn.Linear(8, 4)).double()
    batch = _batch([1, 2, 3, 1, 2, 3, 4])

    def project(piece: ParticleBatch) -> Tensor:
        # Two "views" of a particle, keyed by its identity.
        key = torch.stack([piece.particle, piece.offset.diff()], dim=1).double()
        return torch.stack([network(key.sin()), network((key + 1).cos())])

    def loss(first: Tensor, second: Tensor, _label: Tensor) -> Tensor:
        return contrastive_loss(first, second, temperature=0.5)

    results = []
    for micro in (None, size):
        network.zero_grad()
        value = backpropagate(batch, project=project, loss=loss, micro_batch_size=micro)
        results.append((value, [p.grad.clone() for p in network.parameters()]))
    torch.testing.assert_close(results[1], results[0], rtol=1e-5, atol=1e-9)
    assert max(float(g.abs().max()) for g in results[0][1]) > 1e-3


def test_the_rate_rises_and_falls_as_said() -> None:
    config = TrainConfig(lr=2.0, warmup=0.1, final_lr=0.25)
    rates = [
        learning_rate(step, total_steps=100, epoch_steps=9, config=config) for step in range(100)
    ]
    assert rates[:10] == pytest.approx([0.2 * (i + 1) for i in range(10)])
    assert rates[10] == pytest.approx(2.0)
    assert rates[55] == pytest.approx((2.0 + 0.5) / 2)  # the middle of the cosine
    assert rates[99] == pytest.approx(0.5 + 1.5 * (1 + math.cos(math.pi * 89 / 90)) / 2)
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))


@pytest.mark.parametrize("warmup", [0.0, 1.0])
def test_the_rate_of_a_single_step_is_the_peak(warmup: float) -> None:
    config = TrainConfig(lr=0.3, warmup=warmup)
    assert learning_rate(0, total_steps=1, epoch_steps=1, config=config) == pytest.approx(0.3)


def test_the_rate_may_fall_by_a_factor_each_epoch() -> None:
    config = TrainConfig(lr=1e-4, lr_decay=0.95, epochs=4, warmup=0.0)
    rates = [
        learning_rate(step, total_steps=35, epoch_steps=10, config=config) for step in range(60)
    ]
    # After the last step, which --max-steps may put before the end of an epoch, it stays.
    assert rates == pytest.approx([1e-4 * 0.95 ** min(step // 10, 3) for step in range(60)])


def test_the_size_sets_the_rate_where_none_is_given() -> None:
    for model in MODELS:
        peak = learning_rate(0, total_steps=1, epoch_steps=1, config=TrainConfig(model=model))
        assert peak == (0.01 if model in ("atto", "zepto") else 0.001)  # as the help of --lr says
        assert (
            learning_rate(0, total_steps=1, epoch_steps=1, config=TrainConfig(model=model, lr=0.5))
            == 0.5
        )


def test_vectors_do_not_decay() -> None:
    network = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4))
    scale = nn.Parameter(torch.zeros(1, 1, 4))
    weights = [*network.parameters(), scale]
    decayed, kept = make_optimizer(weights, weight_decay=0.1).param_groups
    assert decayed["weight_decay"] == 0.1
    assert kept["weight_decay"] == 0
    assert decayed["params"] == [network[0].weight]
    assert len(kept["params"]) == 4  # type: ignore[arg-type]
