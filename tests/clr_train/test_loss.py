"""The losses against loops written from the papers, closed forms, and two real processes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as mp
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from clr_train import loss as loss_module
from clr_train.loss import contrastive_loss, loss_bytes
from pilarnet_convert.errors import PilarnetError


def _pair(num: int, width: int, seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    first = torch.randn(num, width, generator=generator)
    return first, first + torch.randn(num, width, generator=generator)


def _cosine(a: Tensor, b: Tensor) -> float:
    return float(a.double() @ b.double() / (a.double().norm() * b.double().norm()))


def simclr_loop(first: Tensor, second: Tensor, temperature: float) -> float:
    """Equation 1 and the sum of Algorithm 1 of arXiv:2002.05709, one pair at a time."""
    n = len(first)
    z = [row for pair in zip(first, second, strict=True) for row in pair]  # z_2k-1, z_2k

    def ell(i: int, j: int) -> float:
        numerator = math.exp(_cosine(z[i], z[j]) / temperature)
        denominator = sum(
            math.exp(_cosine(z[i], z[k]) / temperature) for k in range(2 * n) if k != i
        )
        return -math.log(numerator / denominator)

    return sum(ell(2 * k, 2 * k + 1) + ell(2 * k + 1, 2 * k) for k in range(n)) / (2 * n)


def supcon_loop(first: Tensor, second: Tensor, labels: list[int], temperature: float) -> float:
    """Equation 2 (L_out) of arXiv:2004.11362, averaged over the 2N anchors."""
    z = [*first, *second]
    y = [*labels, *labels]
    total = 0.0
    for i in range(len(z)):
        others = [a for a in range(len(z)) if a != i]
        denominator = sum(math.exp(_cosine(z[i], z[a]) / temperature) for a in others)
        positives = [p for p in others if y[p] == y[i]]
        total += -sum(
            math.log(math.exp(_cosine(z[i], z[p]) / temperature) / denominator) for p in positives
        ) / len(positives)
    return total / len(z)


@settings(max_examples=25)
@given(
    num=st.integers(1, 6),
    width=st.integers(1, 5),
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.05, 0.5, 2.0]),
)
def test_nt_xent_equals_the_loop_of_the_paper(
    num: int, width: int, seed: int, temperature: float
) -> None:
    first, second = _pair(num, width, seed)
    expected = simclr_loop(first, second, temperature)
    found = contrastive_loss(first, second, temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_the_weight_mixes_class_pairs_and_self_pairs(weight: float) -> None:
    first, second = _pair(6, 4, 3)
    labels = [0, 1, 0, 2, 1, 1]
    found = contrastive_loss(
        first, second, labels=torch.tensor(labels), temperature=0.5, label_weight=weight
    )
    expected = weight * supcon_loop(first, second, labels, 0.5)
    expected += (1 - weight) * simclr_loop(first, second, 0.5)
    assert float(found) == pytest.approx(expected, rel=1e-5)


def test_a_particle_without_a_label_has_only_its_other_view() -> None:
    first, second = _pair(5, 4, 4)
    found = contrastive_loss(first, second, labels=torch.tensor([0, -1, 0, -1, 2]), temperature=0.5)
    expected = supcon_loop(first, second, [0, 10, 0, 11, 2], 0.5)
    assert float(found) == pytest.approx(expected, rel=1e-5)


@settings(max_examples=25)
@given(
    labels=st.lists(st.integers(0, 2), min_size=1, max_size=6),
    seed=st.integers(0, 10**6),
    temperature=st.sampled_from([0.1, 1.0]),
)
def test_supervised_equals_the_loop_of_the_paper(
    labels: list[int], seed: int, temperature: float
) -> None:
    first, second = _pair(len(labels), 4, seed)
    expected = supcon_loop(first, second, labels, temperature)
    found = contrastive_loss(first, second, labels=torch.tensor(labels), temperature=temperature)
    assert float(found) == pytest.approx(expected, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("num", [2, 7])
def test_orthogonal_particles_have_a_closed_form(num: int) -> None:
    # Both views equal, all particles orthogonal: one similarity of 1, 2N - 2 of 0.
    views = 3.0 * torch.eye(num)
    expected = -math.log(math.exp(2.0) / (math.exp(2.0) + 2 * num - 2))
    assert float(contrastive_loss(views, views, temperature=0.5)) == pytest.approx(
        expected, rel=1e-6
    )


def test_one_class_of_equal_rows_has_a_closed_form() -> None:
    rows = torch.ones(5, 3)
    found = contrastive_loss(rows, rows, labels=torch.zeros(5, dtype=torch.int64), temperature=0.2)
    assert float(found) == pytest.approx(math.log(9), rel=1e-6)


def test_labels_of_single_particles_give_nt_xent() -> None:
    first, second = _pair(9, 4, seed=1)
    labelled = contrastive_loss(first, second, labels=torch.arange(9) * 3, temperature=0.3)
    torch.testing.assert_close(labelled, contrastive_loss(first, second, temperature=0.3))


def test_gradient_equals_finite_differences() -> None:
    first, second = _pair(5, 3, seed=2)
    first.requires_grad_()
    (gradient,) = torch.autograd.grad(contrastive_loss(first, second, temperature=0.5), first)
    for i, j in ((0, 0), (3, 2)):
        step = torch.zeros_like(first)
        step[i, j] = 1e-2
        with torch.no_grad():
            up = simclr_loop(first + step, second, 0.5)
            down = simclr_loop(first - step, second, 0.5)
        assert float(gradient[i, j]) == pytest.approx((up - down) / 2e-2, abs=1e-4)


def test_blocks_change_neither_value_nor_gradient(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = _pair(16, 4, seed=3)
    results = []
    for elements in (1 << 25, 3 * 32, 1):
        monkeypatch.setattr(loss_module, "_BLOCK_ELEMENTS", elements)
        leaf = first.clone().requires_grad_()
        value = contrastive_loss(leaf, second, temperature=0.1)
        results.append((value.detach(), *torch.autograd.grad(value, leaf)))
    for other in results[1:]:
        torch.testing.assert_close(other, results[0])


def test_memory_does_not_grow_beyond_that_of_a_block() -> None:
    assert loss_bytes(1000) == 6 * 4 * 2000**2
    assert loss_bytes(10_000) == loss_bytes(100_000) < 2**30


def test_half_precision_is_computed_in_float32() -> None:
    first, second = (t.bfloat16() for t in _pair(8, 16, seed=4))
    expected = contrastive_loss(first.float(), second.float(), temperature=0.05)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = contrastive_loss(first, second, temperature=0.05)
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, expected, rtol=0, atol=0)


def test_bad_arguments_are_refused() -> None:
    rows = torch.ones(3, 2)
    with pytest.raises(ValueError, match="one shape"):
        contrastive_loss(rows, rows[:2], temperature=0.1)
    with pytest.raises(ValueError, match="n > 0"):
        contrastive_loss(rows[:0], rows[:0], temperature=0.1)
    with pytest.raises(ValueError, match="temperature must be positive, got 0"):
        contrastive_loss(rows, rows, temperature=0)
    with pytest.raises(ValueError, match="labels must have shape"):
        contrastive_loss(rows, rows, labels=torch.zeros(2), temperature=0.1)


#: Particles of each rank: ranks may hold different numbers of them.
_SIZES = (3, 5)


def _on_a_rank(rank: int, folder: str) -> None:
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/store", rank=rank, world_size=len(_SIZES)
    )
    first, second = _pair(sum(_SIZES), 4, seed=5)
    labels = torch.arange(sum(_SIZES)) % 3
    start = sum(_SIZES[:rank])
    own = slice(start, start + _SIZES[rank])
    rows = [view[own].clone().requires_grad_() for view in (first, second)]
    plain = contrastive_loss(*rows, temperature=0.2, gather=True)
    supervised = contrastive_loss(*rows, labels=labels[own], temperature=0.2, gather=True)
    torch.save(
        {
            "nt_xent": (plain.detach(), torch.autograd.grad(plain, rows)),
            "supervised": (supervised.detach(), torch.autograd.grad(supervised, rows)),
        },
        f"{folder}/{rank}.pt",
    )
    if rank == 0:  # the other leaves
        with pytest.raises(PilarnetError, match="another process of the run has ended"):
            contrastive_loss(*rows, temperature=0.2, gather=True)
    dist.destroy_process_group()


def test_two_processes_equal_the_joined_batch(tmp_path: Path) -> None:
    mp.spawn(_on_a_rank, args=(str(tmp_path),), nprocs=len(_SIZES))
    views = [view.requires_grad_() for view in _pair(sum(_SIZES), 4, seed=5)]
    labels = torch.arange(sum(_SIZES)) % 3
    expected = {
        "nt_xent": contrastive_loss(*views, temperature=0.2),
        "supervised": contrastive_loss(*views, labels=labels, temperature=0.2),
    }
    ranks = [torch.load(tmp_path / f"{rank}.pt") for rank in range(len(_SIZES))]
    for name, loss in expected.items():
        gradients = torch.autograd.grad(loss, views)
        for rank in ranks:
            torch.testing.assert_close(rank[name][0], loss.detach())
        for view in (0, 1):
            joined = torch.cat([rank[name][1][view] for rank in ranks])
            torch.testing.assert_close(joined, gradients[view])
