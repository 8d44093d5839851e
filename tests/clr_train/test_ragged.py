"""Reductions over the rows of each particle against a loop, in both layouts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from clr_train.ragged import RaggedIndex, offsets_of


def _random(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=dtype)


@pytest.mark.parametrize("is_sorted", [True, False])
def test_reductions_of_features_are_those_of_a_loop(is_sorted: bool) -> None:
    particle = torch.randint(0, 5, (40,), generator=torch.Generator().manual_seed(6)) + 1
    particle = particle.sort().values if is_sorted else particle
    index = RaggedIndex.of_particles(particle, num_particles=7, is_sorted=is_sorted)
    values = _random(40, 3)
    members = [values[particle == i] for i in range(7)]
    zero = torch.zeros(3)
    for found, reduce in (
        (index.sum(values), lambda rows: rows.sum(0)),
        (index.mean(values), lambda rows: rows.mean(0)),
        (index.max(values), lambda rows: rows.amax(0)),
    ):
        expected = torch.stack([reduce(rows) if len(rows) else zero for rows in members])
        torch.testing.assert_close(found, expected)
    assert torch.equal(index.broadcast(torch.arange(7.0)[:, None]).flatten(), particle.float())


@pytest.mark.parametrize("with_numpy", [True, False])
@pytest.mark.parametrize("shape", [(), (3,)])
def test_reductions_of_quantities_are_those_of_a_loop(
    with_numpy: bool, shape: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clr_train.ragged._on_cpu", lambda _values: with_numpy)
    counts = torch.tensor([3, 1, 4, 1, 5])
    index = RaggedIndex(offsets_of(counts), num_rows=14)
    values = _random(*shape, 14, dtype=torch.float64)
    members = values.split(counts.tolist(), dim=-1)
    for found, reduce in (
        (index.sum(values, dim=-1), lambda rows: rows.sum(-1)),
        (index.mean(values, dim=-1), lambda rows: rows.mean(-1)),
        (index.max(values, dim=-1), lambda rows: rows.amax(-1)),
        (index.min(values), lambda rows: rows.amin(-1)),
    ):
        torch.testing.assert_close(found, torch.stack([reduce(m) for m in members], dim=-1))
    one_each = _random(*shape, 5)
    assert torch.equal(
        index.broadcast(one_each, dim=-1), one_each.repeat_interleave(counts, dim=-1)
    )
    assert index.local_index.tolist() == [0, 1, 2, 0, 0, 1, 2, 3, 0, 0, 1, 2, 3, 4]
    assert index.particle.tolist() == [0, 0, 0, 1, 2, 2, 2, 2, 3, 4, 4, 4, 4, 4]


def test_gradients_pass_gradcheck() -> None:
    index = RaggedIndex.of_particles(torch.tensor([2, 0, 2, 3, 0, 2]), num_particles=5)
    rows = _random(6, 2, dtype=torch.float64).requires_grad_()
    particles = _random(5, 2, dtype=torch.float64).requires_grad_()
    assert torch.autograd.gradcheck(index.sum, rows)
    assert torch.autograd.gradcheck(index.broadcast, particles)
    assert torch.autograd.gradcheck(index.max, rows)


@pytest.mark.parametrize("num_rows", [1, 4, 100])
def test_pieces_are_whole_particles_and_cover_all(num_rows: int) -> None:
    counts = torch.tensor([3, 0, 1, 4, 0, 1, 5, 0])
    index = RaggedIndex(offsets_of(counts), num_rows=14)
    values = _random(14, 2)
    pieces = index.pieces(num_rows)
    assert [r for p in pieces for r in range(p.rows.start, p.rows.stop)] == list(range(14))
    assert [n for p in pieces for n in range(p.particles.start, p.particles.stop)] == [*range(8)]
    sums = torch.cat([piece.index.sum(values[piece.rows]) for piece in pieces])
    assert torch.equal(sums, index.sum(values))
    unsorted = RaggedIndex.of_particles(index.particle.flip(0), num_particles=8)
    assert [piece.index for piece in unsorted.pieces(num_rows)] == [unsorted]
