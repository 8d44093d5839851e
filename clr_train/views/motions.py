"""Augmentations that move voxels. They are combined, and move the voxels once, at the end."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Final

import torch
from torch import Tensor

from clr_train.keys import fold_in, normal, uniform
from clr_train.views.augmented_batch import AugmentedBatch, Draw
from clr_train.views.config import ViewConfig

__all__ = ["flip", "jitter", "rotate", "scale", "translate"]

_TRANSLATION_STEP: Final = 1.0 / 1024


def flip(batch: AugmentedBatch, draw: Draw, _config: ViewConfig) -> AugmentedBatch:
    """Reverse each axis of a particle with probability 1/2, about the centroid."""
    reverse = (_three_uniform(draw.keys) < 0.5) & draw.chosen
    return batch.transform(_unit_matrix(draw.keys) * (1.0 - 2.0 * reverse.double()))


def scale(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Scale each particle about the centroid, by a factor uniform about 1."""
    u = 2.0 * uniform(fold_in(draw.keys, 0)).double() - 1.0
    factor = 1.0 + draw.strength(config.scale_fraction) * u
    return batch.transform(_unit_matrix(draw.keys) * factor)


def rotate(batch: AugmentedBatch, draw: Draw, _config: ViewConfig) -> AugmentedBatch:
    """Rotate each particle about the centroid, uniformly over SO(3)."""
    unit = _unit_matrix(draw.keys)
    return batch.transform(torch.where(draw.chosen, _rotations(draw.keys), unit))


def _unit_matrix(keys: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64, device=keys.device)[:, :, None]


def _rotations(keys: Tensor) -> Tensor:
    """Draw rotations uniform over SO(3), float64 [3, 3, N].

    From uniform quaternions: K. Shoemake, "Uniform random rotations", Graphics Gems III (1992),
    p. 124.
    """
    u1, u2, u3 = _three_uniform(keys).double()
    a, b = 2 * math.pi * u2, 2 * math.pi * u3
    r1, r2 = (1 - u1).sqrt(), u1.sqrt()
    vector = torch.stack([r1 * a.sin(), r1 * a.cos(), r2 * b.sin()])
    x, y, z = vector
    w = r2 * b.cos()
    zero = torch.zeros_like(w)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3, -1)
    rotations: Tensor = (2 * w * w - 1) * _unit_matrix(keys) + 2 * (
        vector[:, None] * vector + w * cross
    )
    return rotations


def jitter(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Add Gaussian noise to the position of each voxel."""
    bits = batch.bits(draw.keys)
    sigma = batch.broadcast(draw.strength(config.jitter_voxels))
    step = sigma * torch.stack([normal(bits, axis) for axis in range(3)])
    return replace(batch, jitter=step if batch.jitter is None else batch.jitter + step)


def translate(batch: AugmentedBatch, draw: Draw, config: ViewConfig) -> AugmentedBatch:
    """Move each particle along each axis by a distance uniform from 0."""
    # In steps that a float32 coordinate holds exactly: all voxels of a particle that was not
    # rotated then round alike, and no two reach the same site.
    steps = (_three_uniform(draw.keys) * (config.translate_voxels / _TRANSLATION_STEP)).floor_()
    return batch.translate(steps * draw.strength(_TRANSLATION_STEP))


def _three_uniform(keys: Tensor) -> Tensor:
    """Draw three uniform numbers for each particle, float32 [3, N]."""
    first, second = fold_in(keys, 0), fold_in(keys, 1)
    return torch.stack([uniform(first), uniform(first, 1), uniform(second)])
