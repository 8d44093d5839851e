"""Particles as another detector reads them: drift, diffusion, and the augmentation that draws one.

Shapes: V voxels, N particles.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from clr_train.keys import fold_in, uniform
from clr_train.ragged import RaggedIndex, offsets_of, sum_groups
from clr_train.site_keys import pack, particle_of, unpack
from clr_train.views.augmented_batch import AugmentedBatch, Draw
from clr_train.views.config import DRIFT_AXES, ViewConfig
from clr_train.views.detector import (
    NOMINAL,
    RANGES,
    VOXEL_CM,
    Detector,
    drift_velocity,
    recombination,
)

__all__ = ["diffuse", "drift_through", "throw"]

#: Least energy that moves to another voxel, MeV; the nominal detector would not read less.
LEAST_MEV: Final = 0.01
#: Standard deviations of the Gaussian beyond which nothing is moved.
_REACH: Final = 4.0


def throw(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Read each particle with a detector that is drawn for it, uniformly within the ranges."""
    drawn: Mapping[str, Tensor] = {
        name: torch.where(
            draw.chosen,
            _between(name, strength=config.throw_strength, u=uniform(fold_in(draw.keys, number))),
            float(getattr(NOMINAL, name)),
        )
        for number, name in enumerate(RANGES)
    }
    return drift_through(batch, detector=Detector(**drawn), drift_axis=config.drift_axis)


def _between(name: str, *, strength: float, u: Tensor) -> Tensor:
    """Map uniform numbers to a range about the nominal value, scaled by `strength`.

    A lower end that is not positive is replaced by that of strength 1.
    """
    nominal = float(getattr(NOMINAL, name))
    low, high = (nominal + strength * (end - nominal) for end in RANGES[name])
    low = low if low > 0 else RANGES[name][0]
    return low + (high - low) * u.double()


def drift_through(batch: AugmentedBatch, *, detector: Detector, drift_axis: str) -> AugmentedBatch:
    """Return particles as another detector reads them.

    The charge of a voxel changes by recombination in another field, with dE/dx its energy over its
    edge, and by attachment, exp(-t / lifetime), where t is the drift time from its centre to the
    anode at coordinate 0. It spreads across the drift direction by a Gaussian of variance
    2 D t - 2 D0 t0, where that is positive; less diffusion than that of the nominal detector, which
    is in the data, cannot be simulated.

    Parameters
    ----------
    batch : AugmentedBatch
        Particles whose voxels are all there and have not moved.
    detector : Detector
    drift_axis : {"x", "y", "z"}
    """
    axis = DRIFT_AXES.index(drift_axis)
    energy = batch.energy.double()
    distance = (batch.position[axis].double() + 0.5).clamp(min=0.0) * VOXEL_CM
    charge, variance = [], []
    for field, diffusion, lifetime in (d.of_voxels(batch.index) for d in (detector, NOMINAL)):
        time = distance / drift_velocity(field)
        escaped = recombination(energy / VOXEL_CM, field=field)
        charge.append(escaped * torch.exp(-time / lifetime))
        variance.append(2.0 * diffusion * time)
    sigma = (variance[0] - variance[1]).clamp(min=0.0).sqrt() / VOXEL_CM
    read = replace(batch, energy=(energy * charge[0] / charge[1]).float())
    return diffuse(read, sigma=sigma, drift_axis=drift_axis)


def diffuse(batch: AugmentedBatch, *, sigma: Tensor, drift_axis: str) -> AugmentedBatch:
    """Move charge across the drift direction by a Gaussian; energy is conserved.

    Charge lies evenly in its voxel. The share that a step u moves by k voxels is then
    max(0, 1 - |k - u|), and its mean over the Gaussian is a second difference of
    ``F(x) = x Phi(x / s) + s phi(x / s)``, with Phi and phi the normal distribution and its
    density. For s above about half a voxel, a voxel spreads with the variance ``s^2 + 1/6``, in
    voxels squared; 1/6 comes from the widths of the voxels before and after.

    Parameters
    ----------
    batch : AugmentedBatch
        Particles whose voxels have not moved.
    sigma : Tensor, float64 [V]
        Width of the Gaussian for each voxel, in voxels.
    drift_axis : {"x", "y", "z"}
        Nothing moves along it.
    """
    reach = (_REACH * sigma).ceil().long()
    weights = _weights(sigma, reach=reach)
    count = (2 * reach + 1).square()
    copies = RaggedIndex(offsets_of(count), num_rows=int(count.sum()))
    row, edge = copies.particle, (2 * reach + 1)[copies.particle]
    steps = [copies.local_index // edge - reach[row], copies.local_index % edge - reach[row]]
    share = weights[row, steps[0].abs()] * weights[row, steps[1].abs()]
    energy = batch.energy.double()
    # Charge too faint to be read stays in its voxel, so that no energy is lost.
    leaves = (energy[row] * share >= LEAST_MEV) & ((steps[0] != 0) | (steps[1] != 0))
    row, moved = row[leaves], (energy[row] * share)[leaves]
    target = batch.position[:, row]
    first, second = (a for a in range(3) if a != DRIFT_AXES.index(drift_axis))
    target[first] += steps[0][leaves]
    target[second] += steps[1][leaves]
    return _merge(
        batch,
        particle=torch.cat([batch.index.particle, batch.index.particle[row]]),
        position=torch.cat([batch.position, target], dim=1),
        energy=torch.cat(
            [energy - sum_groups(moved, row, num_groups=len(energy), is_sorted=True), moved]
        ),
    )


def _weights(sigma: Tensor, *, reach: Tensor) -> Tensor:
    """Compute the shares that move by 0, 1, ... voxels along an axis, float64 [V, reach + 1]."""
    s = sigma.clamp(min=1e-12)[:, None]
    steps = torch.arange(-1, int(reach.max()) + 2, dtype=torch.float64, device=sigma.device)
    x = steps / s
    density = torch.exp(-0.5 * x.square()) / math.sqrt(2.0 * math.pi)
    integral = s * (x * torch.special.ndtr(x) + density)
    weights = integral[:, 2:] - 2.0 * integral[:, 1:-1] + integral[:, :-2]
    weights = torch.where(steps[1:-1] <= reach[:, None], weights, 0.0)
    return weights / (2.0 * weights.sum(1, keepdim=True) - weights[:, :1])


def _merge(
    batch: AugmentedBatch, *, particle: Tensor, position: Tensor, energy: Tensor
) -> AugmentedBatch:
    """Sum the energies of voxels at one site, in the row of the first of them."""
    sites = pack(particle, position.long())
    keys, inverse = sites.unique(return_inverse=True)  # type: ignore[no-untyped-call]
    total = sum_groups(energy, inverse, num_groups=len(keys))
    number = torch.arange(len(particle), device=energy.device)
    first = torch.full_like(keys, len(particle)).scatter_reduce_(0, inverse, number, "amin")
    owner = particle_of(keys)
    order = (owner * len(particle) + first).argsort()
    count = torch.bincount(owner, minlength=batch.index.num_particles)
    return replace(
        batch,
        index=RaggedIndex(offsets_of(count), num_rows=len(keys)),
        position=torch.stack(unpack(keys)[1:]).float()[:, order],
        energy=total.float()[order],
    )
