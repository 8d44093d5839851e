"""Numbers of energy and shape against numpy, and what must not change them."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import torch

from clr_train.batch import SiteBatch
from clr_train.network.shape import NUM_SHAPE, SLICES, SPECTRUM, shape_numbers
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
    along = np.sign(lean) * place[:, 0] / (widths[0] + 0.5) / 2.4
    number = np.clip(np.floor((along + 1) * SLICES / 2), 0, SLICES - 1)
    rows = [number == k for k in range(SLICES)]
    away = np.hypot(place[:, 1], place[:, 2])
    out += [e[r].sum() / (e.sum() + 0.1) for r in rows]
    out += [math.log((away * weight)[r].sum() / (weight[r].sum() + 0.1) + 0.5) for r in rows]
    out += [e[r].sum() / (weight[r].sum() + 0.5) for r in rows]
    above = [(1 / (1 + np.exp(-10 * (e - t)))).sum() for t in SPECTRUM]
    return out + [math.log((a + 0.1) / (weight.sum() + 0.1)) for a in above]


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
