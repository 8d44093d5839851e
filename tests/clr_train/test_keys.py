"""The hash against published numbers, what is made of it against distributions."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor

from clr_train import keys
from clr_train.keys import fold_in, key, normal, permutation, uniform
from clr_train.views.motions import _rotations

WORDS = fold_in(key(1, 2, 3), torch.arange(200_000))


def distance(values: np.ndarray, cumulative: np.ndarray) -> float:
    """Kolmogorov and Smirnov's distance, of sorted values and their cumulative probabilities."""
    steps = np.arange(len(values) + 1) / len(values)
    return float(max(np.abs(cumulative - steps[1:]).max(), np.abs(cumulative - steps[:-1]).max()))


# What a sample of this size exceeds once in 10,000 (Smirnov's asymptotic formula).
LIMIT = 2.23 / math.sqrt(len(WORDS))


@pytest.mark.parametrize("mix", [keys._mix_with_numpy, keys._mix_with_torch])
def test_the_hash_is_splitmix64(
    mix: Callable[[Tensor], Tensor], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "_mix", mix)
    # The first outputs of the reference implementation in C for the seed 1234567.
    published = [6457827717110365317, 3203168211198807973, 9817491932198370423]
    found = fold_in(torch.tensor(1234567), torch.arange(3)).tolist()
    assert [word % 2**64 for word in found] == published
    assert [int(fold_in(torch.tensor(1234567), n)) % 2**64 for n in range(3)] == published


def test_keys_tell_apart_what_they_are_for() -> None:
    found = [key(*parts) for parts in ((), (0,), (0, 0), (0, 1), (1, 0), (2**62,), (2**63 - 1,))]
    assert len({int(k) for k in found}) == len(found)


def test_uniform_numbers_are_uniform() -> None:
    for field in (0, 1):
        values = np.sort(uniform(WORDS, field).numpy().astype(float))
        assert values[0] >= 0
        assert values[-1] < 1
        assert distance(values, values) < LIMIT


def test_normal_numbers_are_normal() -> None:
    for field in range(4):
        values = np.sort(normal(WORDS, field).numpy().astype(float))
        cumulative = np.array([0.5 * math.erfc(-v / math.sqrt(2)) for v in values[::10]])
        assert distance(values[::10], cumulative) < 2.23 / math.sqrt(len(cumulative))
        assert abs(values.mean()) < 4 / math.sqrt(len(values))
        assert abs(values.var() - 1) < 4 * math.sqrt(2 / len(values))


def test_fields_and_neighbours_are_uncorrelated() -> None:
    series = [normal(WORDS, field).double() for field in range(4)]
    series += [normal(WORDS).double().roll(1), normal(fold_in(WORDS, 0)).double()]
    found = torch.corrcoef(torch.stack(series)) - torch.eye(len(series))
    assert float(found.abs().max()) < 5 / math.sqrt(len(WORDS))


def test_a_permutation_permutes_and_depends_on_its_key() -> None:
    first, second = permutation(1000, key(0, 1)), permutation(1000, key(0, 2))
    assert np.array_equal(np.sort(first), np.arange(1000))
    assert not np.array_equal(first, second)
    assert np.array_equal(first, permutation(1000, key(0, 1)))


def test_rotations_are_proper_and_uniform() -> None:
    turns = _rotations(WORDS[:50_000])
    identity = torch.einsum("ijn,kjn->nik", turns, turns)
    assert torch.allclose(identity, torch.eye(3, dtype=torch.float64).expand_as(identity))
    assert torch.allclose(torch.linalg.det(turns.permute(2, 0, 1)), torch.ones(1).double())
    # The image of any axis is uniform on the sphere: each coordinate uniform in [-1, 1].
    limit = 2.23 / math.sqrt(turns.shape[2])
    for entry in turns.flatten(0, 1):
        values = np.sort(entry.numpy())
        assert distance(values, (values + 1) / 2) < limit
    # The angle of a rotation of Haar's measure has the density (1 - cos t) / pi.
    cosine = ((turns[0, 0] + turns[1, 1] + turns[2, 2] - 1) / 2).clamp(-1, 1)
    angle = np.sort(cosine.acos().numpy())
    assert distance(angle, (angle - np.sin(angle)) / math.pi) < limit


def compare_triton(device: str) -> None:
    """Compare Triton's hash with numpy's, bit for bit."""
    from clr_train import triton_keys

    words = fold_in(key(3), torch.arange(3000))
    found = triton_keys.mix(words.clone().to(device)).cpu()
    assert torch.equal(found, keys._mix_with_numpy(words.clone()))


@pytest.mark.gpu
def test_triton_s_hash_is_numpy_s_on_a_gpu() -> None:
    compare_triton("cuda")
