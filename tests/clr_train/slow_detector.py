"""A detector voxel by voxel, in plain Python, from the formulas of the papers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import NormalDist

Site = tuple[int, int, int]
VOXEL_CM = 0.3
NORMAL = NormalDist()


def velocity(field: float) -> float:
    """Walkowiak's drift velocity at 87.3 K, cm/us."""
    dt = 87.3 - 90.371
    polynomial = 0.141 * field * math.log(1 + 12.4 / field) + 1.627 * field**0.317
    return ((-0.01481 * dt + 1) * polynomial - 0.0075 * dt) / 10


def escaping(de_dx: float, field: float) -> float:
    """The modified box model with the constants of ArgoNeuT."""
    x = 0.212 * max(de_dx, 1.0) / (1.38 * field)
    return math.log(0.93 + x) / x


def share(k: int, sigma: float, reach: int) -> float:
    """Integrate max(0, 1 - |k - u|) over a Gaussian, normalised over the steps within reach."""

    def second_difference(step: int) -> float:
        def integral(x: float) -> float:
            return x * NORMAL.cdf(x / sigma) + sigma * NORMAL.pdf(x / sigma)

        return integral(step + 1) - 2 * integral(step) + integral(step - 1)

    return second_difference(abs(k)) / sum(second_difference(j) for j in range(-reach, reach + 1))


def slow_detector(
    sites: Sequence[Site],
    mev: Sequence[float],
    *,
    field: float = 0.5,
    diffusion: float = 8.8e-6,
    lifetime: float = 2200.0,
    axis: int = 0,
) -> dict[Site, float]:
    """Return the energies by voxel that another detector reads of one particle."""
    read: dict[Site, float] = dict.fromkeys(sites, 0.0)
    for site, energy in zip(sites, mev, strict=True):
        distance = (site[axis] + 0.5) * VOXEL_CM
        time, nominal_time = distance / velocity(field), distance / velocity(0.5)
        charge = energy * escaping(energy / VOXEL_CM, field) / escaping(energy / VOXEL_CM, 0.5)
        charge *= math.exp(-time / lifetime) / math.exp(-nominal_time / 2200.0)
        variance = 2 * diffusion * time - 2 * 8.8e-6 * nominal_time
        sigma = math.sqrt(max(variance, 0.0)) / VOXEL_CM
        read[site] += charge
        reach = math.ceil(4 * sigma)
        if reach == 0:
            continue
        for dy in range(-reach, reach + 1):
            for dz in range(-reach, reach + 1):
                moved = charge * share(dy, sigma, reach) * share(dz, sigma, reach)
                if (dy, dz) != (0, 0) and moved >= 0.01:
                    step = [dy, dz]
                    step.insert(axis, 0)
                    target = (site[0] + step[0], site[1] + step[1], site[2] + step[2])
                    read[target] = read.get(target, 0.0) + moved
                    read[site] -= moved
    return read
