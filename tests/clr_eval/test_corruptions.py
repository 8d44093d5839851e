"""Corrupted particles: what must hold, and slow loops that do the same."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch

from clr_eval.corruptions import CORRUPTIONS, NOISE_MARGIN, NOISE_MEV
from clr_train.batch import ParticleBatch
from clr_train.views.detector import THROWS
from clr_train.views.make import thrown
from tests.clr_train.batches import make_batch


def _batch(count: int = 40, largest: int = 60) -> ParticleBatch:
    return make_batch(5, count, largest=largest)


def corrupt(batch: ParticleBatch, *, name: str, level: float, seed: int) -> ParticleBatch:
    return CORRUPTIONS[name].apply(batch, level, seed)


def _voxels(batch: ParticleBatch) -> list[dict[tuple[int, ...], float]]:
    """Return each particle as its energies by voxel."""
    xyz, energy, offset = batch.xyz.tolist(), batch.energy.tolist(), batch.offset.tolist()
    return [{tuple(xyz[i]): energy[i] for i in range(low, high)} for low, high in pairwise(offset)]


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_a_level_keeps_every_particle_and_depends_on_it_alone(name: str) -> None:
    batch = _batch()
    for level in CORRUPTIONS[name].levels:
        whole = corrupt(batch, name=name, level=level, seed=4)
        assert torch.equal(whole.particle, batch.particle)
        assert torch.equal(whole.label, batch.label)
        assert (whole.offset.diff() > 0).all()
        assert (whole.energy >= 0).all()
        pieces = [corrupt(piece, name=name, level=level, seed=4) for piece in batch.split(7)]
        assert torch.equal(torch.cat([piece.xyz for piece in pieces]), whole.xyz)
        assert torch.equal(torch.cat([piece.energy for piece in pieces]), whole.energy)


@pytest.mark.parametrize("name", CORRUPTIONS)
def test_level_zero_changes_nothing(name: str) -> None:
    batch = _batch()
    assert _voxels(corrupt(batch, name=name, level=0.0, seed=1)) == _voxels(batch)


@pytest.mark.parametrize("name", ["smear-energy", "jitter", "drop", "noise"])
def test_the_seed_decides(name: str) -> None:
    batch, level = _batch(), CORRUPTIONS[name].levels[-1]
    first, again, other = (corrupt(batch, name=name, level=level, seed=s) for s in (1, 1, 2))
    assert _voxels(first) == _voxels(again)
    assert _voxels(first) != _voxels(other)


def test_the_energy_scale_multiplies() -> None:
    batch = _batch()
    found = corrupt(batch, name="energy-scale", level=-0.3, seed=0)
    np.testing.assert_allclose(found.energy, 0.7 * batch.energy, rtol=1e-6)
    assert torch.equal(found.xyz, batch.xyz)


def test_faint_voxels_are_lost_and_the_brightest_stays() -> None:
    batch = _batch()
    expected = []
    for voxels in _voxels(batch):
        kept = {voxel: energy for voxel, energy in voxels.items() if energy >= 0.9}
        brightest = max(voxels, key=voxels.__getitem__)
        expected.append(kept or {brightest: voxels[brightest]})
    threshold = float(torch.tensor(0.9))
    assert _voxels(corrupt(batch, name="threshold", level=threshold, seed=0)) == expected


def test_dropped_voxels_are_the_share_that_was_asked_for() -> None:
    batch = _batch(400)
    thinned = corrupt(batch, name="drop", level=0.3, seed=0)
    assert thinned.num_voxels == pytest.approx(0.7 * batch.num_voxels, rel=0.03)
    for before, after in zip(_voxels(batch), _voxels(thinned), strict=True):
        assert after.items() <= before.items()


def test_noise_is_added_around_what_is_there() -> None:
    batch = _batch(600)
    noisy = corrupt(batch, name="noise", level=0.5, seed=0)
    # On average half as many, but for those that fall on another voxel.
    assert noisy.num_voxels == pytest.approx(1.5 * batch.num_voxels, rel=0.03)
    added = float(noisy.energy.sum() - batch.energy.sum())
    assert added == pytest.approx(0.5 * batch.num_voxels * NOISE_MEV, rel=0.05)
    for before, after in zip(_voxels(batch), _voxels(noisy), strict=True):
        assert set(before) <= set(after)
        assert all(after[v] >= before[v] - 1e-6 for v in before)
        low, high = np.min(list(before), axis=0), np.max(list(before), axis=0)
        voxels = np.array(list(after))
        assert (voxels >= low - NOISE_MARGIN).all()
        assert (voxels <= high + NOISE_MARGIN).all()


def test_a_throw_by_name_is_the_published_one() -> None:
    batch = _batch()
    ends = [corrupt(batch, name="throw", level=level, seed=0) for level in (1.0, -1.0)]
    for name, expected in zip(("throw-1", "throw-2"), ends, strict=True):
        assert _voxels(thrown(batch, detector=THROWS[name])) == _voxels(expected)
    assert _voxels(thrown(batch, detector=THROWS["throw-15"])) == _voxels(batch)
    # A short lifetime loses more the farther the charge drifts.
    short = _voxels(thrown(batch, detector=THROWS["throw-8"]))
    for before, after in zip(_voxels(batch), short, strict=True):
        kept = [after[voxel] / before[voxel] for voxel in sorted(before)]
        assert kept == pytest.approx(sorted(kept, reverse=True), rel=1e-6)
        assert max(kept) < 1


def test_jitter_moves_and_sums_and_loses_no_energy() -> None:
    batch = _batch()
    moved = corrupt(batch, name="jitter", level=1.0, seed=0)
    for before, after in zip(_voxels(batch), _voxels(moved), strict=True):
        assert sum(after.values()) == pytest.approx(sum(before.values()), rel=1e-5)
    assert _voxels(moved) != _voxels(batch)
