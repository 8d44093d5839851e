"""Augmentations that add voxels or remove some. No particle ever loses its last voxel."""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from clr_train.keys import fold_in, uniform
from clr_train.ragged import RaggedIndex, offsets_of
from clr_train.views.augmented_batch import AugmentedBatch, Draw
from clr_train.views.config import ViewConfig

__all__ = ["add_noise", "crop", "cutout", "drop", "threshold"]

#: Largest distance, voxels along each axis, of near noise from a voxel of the particle.
_NEAR: Final = 15
#: Margin around the bounding box of a particle in which far noise lies, voxels.
_MARGIN: Final = 5


def add_noise(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Add voxels, half of them near some voxel, half anywhere in a box around the particle.

    Their number is uniform from 0 to `config.noise_fraction` of the particle's, their energy
    exponential with the mean `config.noise_energy_mev`. Where one falls on a voxel of the particle,
    `quantise` sums the energies.
    """
    bits = fold_in(draw.keys, 0)
    most = draw.strength(config.noise_fraction) * batch.index.count
    count = (most * uniform(bits) + uniform(bits, 1)).long() * draw.chosen
    noise = RaggedIndex(offsets_of(count), num_rows=int(count.sum()))
    words = fold_in(noise.broadcast(fold_in(draw.keys, 1), dim=-1), noise.local_index)
    first, second, third, fourth = (fold_in(words, number) for number in range(4))
    u = torch.stack([uniform(first), uniform(first, 1), uniform(second)])
    pick = noise.broadcast(batch.index.offset[:-1], dim=-1) + _below(
        uniform(second, 1), noise.broadcast(batch.index.count, dim=-1)
    )
    near = batch.position[:, pick] + _below(u, 2 * _NEAR + 1) - _NEAR
    low = noise.broadcast(batch.index.min(batch.position) - _MARGIN, dim=-1)
    high = noise.broadcast(batch.index.max(batch.position, dim=-1) + _MARGIN, dim=-1)
    far = low + _below(u, high - low + 1)
    return batch.append(
        noise,
        position=torch.where(uniform(third) < 0.5, near, far),
        energy=-config.noise_energy_mev * torch.log1p(-uniform(fourth)),
    )


def _below(u: Tensor, count: Tensor | int) -> Tensor:
    """Turn uniform numbers into whole numbers below `count`, int64."""
    return (u.double() * count).long()


def threshold(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Remove voxels below a threshold drawn uniformly from 0 to `config.threshold_mev`."""
    cut = draw.strength(config.threshold_mev) * uniform(fold_in(draw.keys, 0))
    return batch.keep(batch.energy >= batch.broadcast(cut))


def crop(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Keep a cube about one of the particle's voxels, drawn uniformly.

    Half its edge is uniform from `config.crop_fraction` of the longest extent to all of it.
    """
    bits = fold_in(draw.keys, 0)
    share = config.crop_fraction + (1.0 - config.crop_fraction) * uniform(bits, 1)
    half = torch.where(draw.chosen, share * _longest_extent(batch), torch.inf)
    return batch.keep(_distance(batch, bits) <= batch.broadcast(half))


def cutout(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Remove a cube about one of the particle's voxels, drawn uniformly.

    Its edge is uniform from 0 to `config.cutout_fraction` of the longest extent.
    """
    bits = fold_in(draw.keys, 0)
    largest = draw.strength(0.5 * config.cutout_fraction)
    half = largest * uniform(bits, 1) * _longest_extent(batch)
    return batch.keep(_distance(batch, bits) >= batch.broadcast(half))


def drop(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Remove each voxel independently with the probability `config.drop_probability`."""
    least = batch.broadcast(draw.strength(config.drop_probability))
    return batch.keep(uniform(batch.bits(draw.keys)) >= least)


def _distance(batch: AugmentedBatch, bits: Tensor) -> Tensor:
    """Return the largest distance along an axis from a voxel drawn for each particle, [V]."""
    pick = batch.index.offset[:-1] + _below(uniform(bits), batch.index.count)
    centre = batch.broadcast(batch.position[:, pick])
    return (batch.position - centre).abs_().amax(0)


def _longest_extent(batch: AugmentedBatch) -> Tensor:
    """Return the longest extent of each particle along an axis, voxels, float32 [N]."""
    low, high = batch.index.min(batch.position), batch.index.max(batch.position, dim=-1)
    return (high - low).amax(0)
