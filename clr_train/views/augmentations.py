"""What a view may do to a particle: a registry of functions on a ragged batch.

A function takes a batch, which of its particles drew the augmentation, and the parameters, and
returns the batch changed. It computes on all particles, with strength 0 for those that did not draw
it, so that nothing waits for the device; none loops over particles.

Legend: V voxels, N particles. ``AUGMENTATIONS`` is in the order of application, whatever the order
in which a user lists names: first energies, of the voxels that the detector read; then what is
removed, so that a cutout is aligned with the axes of the detector whether or not the particle is
rotated; then the motions: rotation, jitter, translation. These are collected, and move the voxels
once, at the end.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from clr_train.keys import fold_in, normal, uniform
from clr_train.views.augmented_batch import AugmentedBatch

__all__ = ["AUGMENTATIONS", "Augmentation", "Parameters"]

_TRANSLATION_STEP: Final = 1.0 / 1024


@dataclass(frozen=True, kw_only=True)
class Parameters:
    """How strong each augmentation is.

    Parameters
    ----------
    translate_voxels : float
        Length of the range of a translation on each axis, voxels. A tenth of a 512 cube.
    shift_energy : float
        Largest relative loss of energy of a whole particle.
    drop_probability : float
        Of each voxel, independently.
    scale_energy_sigma : float
        Standard deviation of the factor on each voxel's energy, which has mean 1.
    smear_energy_mev : float
        Standard deviation of what is added to each voxel's energy, MeV. A minimum-ionising
        particle leaves 0.63 MeV in a voxel.
    cutout_fraction : float
        Largest edge of the removed cube, as a fraction of the particle's longest extent.
    jitter_voxels : float
        Standard deviation of what is added to each coordinate, voxels.
    """

    translate_voxels: float = 51.2
    shift_energy: float = 0.1
    drop_probability: float = 0.1
    scale_energy_sigma: float = 0.1
    smear_energy_mev: float = 0.05
    cutout_fraction: float = 0.5
    jitter_voxels: float = 0.3

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not (math.isfinite(value) and value >= 0):
                raise ValueError(f"{field.name}: expected 0 or more, found {value}")
        for name in ("shift_energy", "drop_probability", "cutout_fraction"):
            if getattr(self, name) >= 1:
                raise ValueError(f"{name}: expected less than 1, found {getattr(self, name)}")


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Who drew an augmentation.

    Parameters
    ----------
    chosen : Tensor, bool [N]
        Whether each particle did.
    keys : Tensor, int64 [N]
        A key of each particle's view for this augmentation.
    """

    chosen: Tensor
    keys: Tensor

    def strength(self, value: float) -> Tensor:
        """Give `value` to the particles that drew it, and 0 to the others, float32 [N]."""
        return self.chosen.to(torch.float32).mul_(value)


Function = Callable[[AugmentedBatch, Draw, Parameters], AugmentedBatch]


def _shift_energy(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    factor = 1.0 - draw.strength(parameters.shift_energy) * uniform(fold_in(draw.keys, 0))
    return replace(batch, energy=batch.energy * batch.broadcast(factor))


def _scale_energy(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    sigma = batch.broadcast(draw.strength(parameters.scale_energy_sigma))
    factor = (1.0 + sigma * normal(batch.bits(draw.keys))).clamp_(min=0.0)
    return replace(batch, energy=batch.energy * factor)


def _smear_energy(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    sigma = batch.broadcast(draw.strength(parameters.smear_energy_mev))
    noise = sigma * normal(batch.bits(draw.keys))
    return replace(batch, energy=(batch.energy + noise).clamp_(min=0.0))


def _cutout(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    """Remove a cube about one of the particle's voxels, drawn evenly.

    Its edge is uniform below a fraction of the longest extent. As that is less than the extent,
    a cube never holds both ends of it: some voxel is always left.
    """
    bits = fold_in(draw.keys, 0)
    pick = (uniform(bits, 0).double() * batch.index.count).long()
    centre = batch.position[:, batch.index.offset[:-1] + pick]
    low = batch.index.min(batch.position)
    high = batch.index.max(batch.position, dim=-1)
    largest = draw.strength(0.5 * parameters.cutout_fraction)
    half = largest * uniform(bits, 1) * (high - low).amax(0)
    distance = (batch.position - batch.broadcast(centre)).abs_().amax(0)
    return batch.keep(distance >= batch.broadcast(half))


def _drop(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    """Remove each voxel by itself; should all go, the one with the largest number stays."""
    number = uniform(batch.bits(draw.keys))
    if batch.alive is not None:
        number = torch.where(batch.alive, number, -1.0)
    largest = batch.index.max(number, dim=-1)
    least = draw.strength(parameters.drop_probability).minimum(largest)
    return batch.keep(number >= batch.broadcast(least))


def _rotate(batch: AugmentedBatch, draw: Draw, _parameters: Parameters) -> AugmentedBatch:
    """Turn each particle about the mean of its voxels' positions."""
    rotation = torch.where(draw.chosen, _rotations(draw.keys), _unit_matrix(draw.keys)).float()
    shift = batch.centroid - (rotation * batch.centroid).sum(1)
    return replace(batch, rotation=rotation).translate(shift.float())


def _unit_matrix(keys: Tensor) -> Tensor:
    return torch.eye(3, dtype=torch.float64, device=keys.device)[:, :, None]


def _rotations(keys: Tensor) -> Tensor:
    """Draw rotations uniform over SO(3), float64 [3, 3, N].

    From uniform quaternions: K. Shoemake, "Uniform random rotations", Graphics Gems III (1992),
    p. 124.
    """
    first, second = fold_in(keys, 0), fold_in(keys, 1)
    u1, u2, u3 = (u.double() for u in (uniform(first), uniform(first, 1), uniform(second)))
    a, b = 2 * math.pi * u2, 2 * math.pi * u3
    r1, r2 = (1 - u1).sqrt(), u1.sqrt()
    vector = torch.stack([r1 * a.sin(), r1 * a.cos(), r2 * b.sin()])
    x, y, z = vector
    w = r2 * b.cos()
    zero = torch.zeros_like(w)
    cross = torch.stack([zero, -z, y, z, zero, -x, -y, x, zero]).view(3, 3, -1)
    return (2 * w * w - 1) * _unit_matrix(keys) + 2 * (vector[:, None] * vector + w * cross)


def _jitter(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    bits = batch.bits(draw.keys)
    sigma = batch.broadcast(draw.strength(parameters.jitter_voxels))
    return replace(batch, jitter=sigma * torch.stack([normal(bits, axis) for axis in range(3)]))


def _translate(batch: AugmentedBatch, draw: Draw, parameters: Parameters) -> AugmentedBatch:
    first, second = fold_in(draw.keys, 0), fold_in(draw.keys, 1)
    u = torch.stack([uniform(first), uniform(first, 1), uniform(second)])
    # In steps that a float32 coordinate holds: all voxels of a particle that did not turn then
    # round alike, and no two fall together.
    steps = (u * (parameters.translate_voxels / _TRANSLATION_STEP)).floor_()
    return batch.translate(steps * draw.strength(_TRANSLATION_STEP))


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One thing that a view may do.

    Parameters
    ----------
    number : int
        Its key in the hash of a draw; never changes, whatever is added to the registry.
    apply : callable or None
        The function; None does nothing.
    meaning : str
        What it does, for help texts and pictures.
    """

    number: int
    apply: Function | None
    meaning: str


def _registry() -> Mapping[str, Augmentation]:
    table: tuple[tuple[str, int, Function | None, str], ...] = (
        ("shift-energy", 2, _shift_energy, "one factor 1 - 0.1 u for the particle"),
        ("scale-energy", 4, _scale_energy, "a normal factor for each voxel"),
        ("smear-energy", 5, _smear_energy, "normal noise on each voxel's energy"),
        ("cutout", 6, _cutout, "a random cube is removed"),
        ("drop", 3, _drop, "each voxel is removed with a probability"),
        ("rotate", 0, _rotate, "uniform over SO(3), about the centroid"),
        ("jitter", 7, _jitter, "normal noise on each voxel's position"),
        ("translate", 1, _translate, "uniform on each axis"),
        ("identity", 8, None, "nothing"),
    )
    return MappingProxyType(
        {
            name: Augmentation(number=number, apply=apply, meaning=meaning)
            for name, number, apply, meaning in table
        }
    )


#: Every augmentation by name, in the order of application.
AUGMENTATIONS: Final[Mapping[str, Augmentation]] = _registry()
