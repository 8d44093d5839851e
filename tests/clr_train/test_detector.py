"""Detector throws against a slow loop, closed forms and the width of a smeared point."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clr_train.views.augmented_batch import AugmentedBatch
from clr_train.views.detector import (
    NOMINAL,
    RANGES,
    THROWS,
    Detector,
    drift_velocity,
    recombination,
)
from clr_train.views.throw import diffuse, drift_through
from tests.clr_train.batches import as_batch, make_particles
from tests.clr_train.slow_detector import slow_detector

Particles = list[tuple[NDArray[np.int32], NDArray[np.float32]]]


def read(particles: Particles, detector: Detector, *, drift_axis: str = "x") -> AugmentedBatch:
    batch = AugmentedBatch.of(as_batch(particles))
    return drift_through(batch, detector=detector, drift_axis=drift_axis)


def point(*, mev: float = 1000.0, x: int = 0) -> Particles:
    return [(np.array([[x, 50, 60]], np.int32), np.array([mev], np.float32))]


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("name", ["throw-1", "throw-2", "throw-4", "throw-16"])
def test_a_throw_is_that_of_a_slow_loop(name: str, axis: int) -> None:
    detector, particles = THROWS[name], make_particles(1, 6, cube=512, largest=30)
    seen = read(particles, detector, drift_axis="xyz"[axis])
    for number, (xyz, energy) in enumerate(particles):
        expected = slow_detector(
            [tuple(site) for site in xyz.tolist()],
            energy.tolist(),
            field=float(detector.field),
            diffusion=float(detector.diffusion),
            lifetime=float(detector.lifetime),
            axis=axis,
        )
        rows = slice(*seen.index.offset[number : number + 2].tolist())
        sites = map(tuple, seen.position[:, rows].T.int().tolist())
        found = dict(zip(sites, seen.energy[rows].tolist(), strict=True))
        assert found.keys() == expected.keys()
        assert found == pytest.approx(expected, rel=1e-6, abs=1e-7)


@pytest.mark.parametrize("drift_axis", ["x", "y", "z"])
def test_nominal_changes_nothing(drift_axis: str) -> None:
    particles = make_particles(2, 30, cube=512)
    seen = read(particles, NOMINAL, drift_axis=drift_axis)
    batch = as_batch(particles)
    assert torch.equal(seen.position.T.int(), batch.xyz)
    assert torch.equal(seen.energy, batch.energy)


def test_a_lifetime_costs_an_exponential_of_the_drift_time() -> None:
    velocity = float(drift_velocity(torch.tensor(0.5, dtype=torch.float64)))
    for x in (0, 100, 511):
        seen = read(point(x=x), Detector(lifetime=500.0))
        time = (x + 0.5) * 0.3 / velocity
        expected = 1000.0 * math.exp(-time * (1 / 500 - 1 / 2200))
        assert float(seen.energy.sum()) == pytest.approx(expected, rel=1e-6)


def test_a_field_changes_recombination_by_the_ratio_of_the_model() -> None:
    # At the anode nothing drifts for long. 30 MeV/cm, a stopping proton: ln(A + x) / x by hand.
    seen = read(point(mev=9.0, x=0), Detector(field=0.45, lifetime=2200.0))
    x, nominal = (0.212 * 30.0 / (1.38 * field) for field in (0.45, 0.5))
    expected = 9.0 * (math.log(0.93 + x) / x) / (math.log(0.93 + nominal) / nominal)
    assert float(seen.energy.sum()) == pytest.approx(expected, rel=1e-4)
    assert float(seen.energy.sum()) < 8.8  # a weaker field loses more


def test_published_values_of_the_formulas() -> None:
    # 1.60 mm/us at 0.5 kV/cm and 87 K to 2 %, and 70 % of a minimum-ionising particle's charge.
    fields = torch.tensor([0.5], dtype=torch.float64)
    assert float(drift_velocity(fields)) == pytest.approx(0.160, rel=0.02)
    assert float(recombination(torch.tensor([2.1]).double(), field=fields)) == pytest.approx(
        0.70, abs=0.02
    )


@pytest.mark.parametrize("sigma", [0.5, 1.0, 2.5])
def test_a_smeared_point_is_as_wide_as_the_gaussian(sigma: float) -> None:
    batch = AugmentedBatch.of(as_batch(point(mev=1e6)))
    seen = diffuse(batch, sigma=torch.tensor([sigma]).double(), drift_axis="x")
    energy = seen.energy.double()
    mean = (seen.position.double() * energy).sum(1) / energy.sum()
    variance = ((seen.position.double() - mean[:, None]).square() * energy).sum(1) / energy.sum()
    assert float(energy.sum()) == pytest.approx(1e6, rel=1e-6)
    assert mean.tolist() == pytest.approx([0, 50, 60], abs=1e-6)
    assert float(variance[0]) == 0
    # The point lies anywhere in its voxel, and is read anywhere in another: 1/12 each.
    for width in (variance[1:] - 1 / 6).sqrt():
        assert float(width) == pytest.approx(sigma, rel=0.01)


def test_a_narrow_gaussian_moves_what_lies_near_the_border() -> None:
    # Of charge spread evenly over a voxel, s / sqrt(2 pi) leaves by each side.
    batch = AugmentedBatch.of(as_batch(point(mev=1e6)))
    seen = diffuse(batch, sigma=torch.tensor([0.1]).double(), drift_axis="x")
    beside = seen.energy[(seen.position[1] == 51)].sum() / 1e6
    assert float(beside) == pytest.approx(0.1 / math.sqrt(2 * math.pi), rel=1e-4)


def test_diffusion_keeps_the_energy_of_every_particle() -> None:
    batch = AugmentedBatch.of(as_batch(make_particles(5, 40, largest=200)))
    sigma = torch.rand(len(batch.energy), generator=torch.Generator().manual_seed(0)).double()
    seen = diffuse(batch, sigma=sigma, drift_axis="z")
    before = batch.index.sum(batch.energy.double(), dim=-1)
    after = seen.index.sum(seen.energy.double(), dim=-1)
    torch.testing.assert_close(after, before, rtol=1e-6, atol=1e-6)
    assert len(seen.energy) > len(batch.energy)


def test_the_fixed_throws_are_those_of_the_study() -> None:
    def values(name: str) -> list[float]:
        throw = THROWS[name]
        return [float(throw.field), 1e6 * float(throw.diffusion), float(throw.lifetime)]

    assert values("throw-1") == pytest.approx([0.55, 14.0, 5000])
    assert values("throw-2") == pytest.approx([0.45, 4.0, 500])
    assert values("throw-5") == pytest.approx([0.5, 8.8, 5000])
    assert values("throw-7") == pytest.approx([0.5, 4.0, 2200])
    assert values("throw-10") == pytest.approx([0.4875, 7.6, 1775])
    assert values("throw-15") == pytest.approx([0.5, 8.8, 2200])
    assert values("throw-16") == pytest.approx([0.65, 24.4, 10600])
    assert values("throw-17") == pytest.approx([0.35, 4.0, 500])  # the last two are cut
    assert len(THROWS) == 17
    for low, high in RANGES.values():
        assert low < high
