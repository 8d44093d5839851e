"""Augmentations that change the energies of voxels."""

from __future__ import annotations

from dataclasses import replace

from clr_train.keys import fold_in, normal, uniform
from clr_train.views.augmented_batch import AugmentedBatch, Draw
from clr_train.views.config import ViewConfig

__all__ = ["scale_energy", "shift_energy", "shift_energy_normal", "smear_energy"]


def shift_energy(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Multiply the energies of each particle by 1 - s u.

    s is `config.shift_energy`, and u is uniform in [0, 1).
    """
    factor = 1.0 - draw.strength(config.shift_energy) * uniform(fold_in(draw.keys, 0))
    return replace(batch, energy=batch.energy * batch.broadcast(factor))


def shift_energy_normal(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Multiply the energies of each particle by a Gaussian factor of mean 1, cut at 0."""
    sigma = draw.strength(config.shift_energy_sigma)
    factor = (1.0 + sigma * normal(fold_in(draw.keys, 0))).clamp_(min=0.0)
    return replace(batch, energy=batch.energy * batch.broadcast(factor))


def scale_energy(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Multiply the energy of each voxel by a Gaussian factor of mean 1, cut at 0."""
    sigma = batch.broadcast(draw.strength(config.scale_energy_sigma))
    factor = (1.0 + sigma * normal(batch.bits(draw.keys))).clamp_(min=0.0)
    return replace(batch, energy=batch.energy * factor)


def smear_energy(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Add Gaussian noise to the energy of each voxel; the sum is cut at 0."""
    sigma = batch.broadcast(draw.strength(config.smear_energy_mev))
    noise = sigma * normal(batch.bits(draw.keys))
    return replace(batch, energy=(batch.energy + noise).clamp_(min=0.0))
