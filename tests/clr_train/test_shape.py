"""Numbers of energy and shape against numpy, and what must not change them."""

from __future__ import annotations

import dataclasses
import math
from itertools import pairwise

import numpy as np
import pytest
import torch

from clr_train.batch import SiteBatch
from clr_train.network.shape import END_BINS, NUM_SHAPE, SPECTRUM, shape_numbers
from tests.clr_train.sparse_reference import make_sites, random_sites


def sample(seed: int = 0) -> SiteBatch:
    sites = random_sites(seed, channels=1, num_particles=6)
    return dataclasses.replace(sites, features=sites.features.abs())


def slow_numbers(xyz: np.ndarray, e: np.ndarray) -> list[float]:  # type: ignore[type-arg]
    """The numbers of one particle, from their definitions."""
    weight = e**2 / (e**2 + 1)
    middle = np.average(xyz, axis=0, weights=weight)
    _, axes = np.linalg.eigh(np.cov(xyz.T, aweights=weight, ddof=0))
    place = (xyz - middle) @ axes[:, ::-1]
    widths = np.average(abs(place), axis=0, weights=weight)
    lean = np.average(place[:, 0], weights=e)
    out = [math.log(e.sum() + 0.1) - 3, *np.log(widths + 0.5)]
    out += [
        np.average(e, weights=weight),
        (e**2).sum() / e.sum(),
        3 * abs(lean) / (widths[0] + 0.5),
    ]
    along = place[:, 0] * (-1 if lean < 0 else 1)
    begin = min(a for a in along if weight[along <= a].sum() >= 0.02 * weight.sum())
    end = max(a for a in along if weight[along >= a].sum() >= 0.02 * weight.sum())
    out += [math.log(end - begin + 1)]
    bounds = [-2.0, *END_BINS, math.inf]
    for distance in (along - begin, end - along):
        rows = [(low < distance) & (distance <= high) for low, high in pairwise(bounds)]
        widths = [2, 2, 4, 8, 16, 32]
        out += [math.log(e[r].sum() / width + 0.1) for r, width in zip(rows, widths, strict=True)]
        out += [e[r].sum() / (weight[r].sum() + 0.5) for r in rows]
    above = [(1 / (1 + np.exp(-10 * (e - t)))).sum() for t in SPECTRUM]
    return out + [1 + math.log((a + 0.1) / (weight.sum() + 0.1)) / 2 for a in above]


def test_numbers_are_those_of_numpy() -> None:
    sites = sample()
    found, seen = shape_numbers(sites), 0
    assert found.shape == (sites.num_particles, NUM_SHAPE)
    for particle in range(sites.num_particles):
        rows = sites.particle == particle
        if int(rows.sum()) > 4:  # fewer lie in a plane, where an axis has any direction
            expected = slow_numbers(
                sites.xyz[rows].double().numpy(), sites.features[rows, 0].double().numpy()
            )
            np.testing.assert_allclose(found[particle], expected, rtol=1e-4, atol=1e-4)
            seen += 1
    assert seen


def test_a_particle_may_be_moved_and_turned() -> None:
    sites = sample()
    turned = make_sites(
        sites.particle,
        torch.stack([-sites.xyz[:, 1], sites.xyz[:, 2] + 7, 90 - sites.xyz[:, 0]], dim=1).int(),
        features=sites.features,
        num_particles=sites.num_particles,
    )
    many = torch.bincount(sites.particle, minlength=sites.num_particles) > 4
    torch.testing.assert_close(
        shape_numbers(turned)[many], shape_numbers(sites)[many], rtol=1e-4, atol=1e-4
    )


def test_an_empty_particle_has_finite_numbers() -> None:
    sites = make_sites(
        torch.zeros(1, dtype=torch.int64),
        torch.zeros(1, 3, dtype=torch.int32),
        features=torch.zeros(1, 1),
        num_particles=2,
    )
    assert bool(shape_numbers(sites).isfinite().all())


def track(energy: torch.Tensor, *, outlier: bool = False) -> SiteBatch:
    """A straight particle, perhaps with a faint voxel far beyond its end."""
    place = [*range(len(energy)), *([len(energy) + 60] if outlier else [])]
    energy = torch.cat([energy, torch.full((len(place) - len(energy),), 0.1)])
    xyz = torch.tensor([[100 + x, 50, 50] for x in place], dtype=torch.int32)
    one = torch.zeros(len(place), dtype=torch.int64)
    return make_sites(one, xyz, features=energy[:, None], num_particles=1)


def test_a_stopping_particle_shows_how_its_energy_rises() -> None:
    energy = torch.tensor([1.0] * 36 + [2.0] * 4 + [4.0] * 3)
    numbers = shape_numbers(track(energy))[0]
    length, profiles = numbers[7], numbers[8:32].view(4, -1)
    assert float(length) == pytest.approx(math.log(43))
    # Three voxels of 4 lie within 2 of the denser end, then 2 within 4 of it, and 2 more within 8.
    assert profiles[2, :3].exp() - 0.1 == pytest.approx([12 / 2, 4 / 2, (4 + 2) / 4], abs=1e-5)
    assert profiles[0, :3].exp() - 0.1 == pytest.approx([3 / 2, 2 / 2, 4 / 4], abs=1e-5)


def test_a_faint_voxel_far_away_hardly_moves_the_numbers() -> None:
    energy = torch.linspace(1.0, 3.0, 60)
    plain, moved = (shape_numbers(track(energy, outlier=o)) for o in (False, True))
    torch.testing.assert_close(moved, plain, rtol=0.0, atol=0.1)
