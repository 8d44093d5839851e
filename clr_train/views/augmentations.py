"""What a view may do to a particle: a registry of small functions on a ragged batch.

Each takes a cloud whose particles own a voxel or more, which particles drew it, one key a particle,
and the parameters, and returns the cloud changed. Particles that did not draw it take part with a
strength of nothing, so that nothing needs a look at the device. None loops over particles.

V voxels, N particles. ``AUGMENTATIONS`` stands in the order of application: energies first, on
the voxels that the detector read; then what is removed, on the axes of the detector; then the
motions: rotation, jitter, translation. So a cutout is aligned with the axes whether or not the
particle is rotated, and the order in which names are listed is of no consequence. Motions of whole
particles are collected and move the voxels once, at the end.
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
from clr_train.views.augmented_batch import Cloud

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


Function = Callable[[Cloud, Tensor, Tensor, Parameters], Cloud]


def _strength(chosen: Tensor, value: float) -> Tensor:
    """Give a strength to particles that drew an augmentation, and 0 to the others, float32 [N]."""
    return chosen.to(torch.float32).mul_(value)


def _shift_energy(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    factor = 1.0 - _strength(chosen, parameters.shift_energy) * uniform(fold_in(keys, 0))
    return replace(cloud, energy=cloud.energy * cloud.rows.spread(factor))


def _scale_energy(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    sigma = cloud.rows.spread(_strength(chosen, parameters.scale_energy_sigma))
    factor = (1.0 + sigma * normal(cloud.rows.bits(keys))).clamp_(min=0.0)
    return replace(cloud, energy=cloud.energy * factor)


def _smear_energy(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    sigma = cloud.rows.spread(_strength(chosen, parameters.smear_energy_mev))
    noise = sigma * normal(cloud.rows.bits(keys))
    return replace(cloud, energy=(cloud.energy + noise).clamp_(min=0.0))


def _cutout(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    """Remove a cube about one of the particle's voxels, drawn evenly.

    Its edge is uniform below a fraction of the longest extent. As that is less than the extent,
    a cube never holds both ends of it: some voxel is always left.
    """
    bits = fold_in(keys, 0)
    pick = (uniform(bits, 0).double() * cloud.rows.size).long()
    centre = cloud.position[:, cloud.rows.offset[:-1] + pick]
    low, high = (cloud.rows.reduce(cloud.position, how) for how in ("min", "max"))
    largest = _strength(chosen, 0.5 * parameters.cutout_fraction)
    half = largest * uniform(bits, 1) * (high - low).amax(0)
    distance = (cloud.position - cloud.rows.spread(centre)).abs_().amax(0)
    return cloud.keeping(distance >= cloud.rows.spread(half))


def _drop(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    """Remove each voxel by itself; should all go, the one with the largest draw stays."""
    draw = uniform(cloud.rows.bits(keys))
    if cloud.alive is not None:
        draw = torch.where(cloud.alive, draw, -1.0)
    best = cloud.rows.reduce(draw[None], "max")[0]
    least = _strength(chosen, parameters.drop_probability).minimum(best)
    return cloud.keeping(draw >= cloud.rows.spread(least))


def _rotate(cloud: Cloud, chosen: Tensor, keys: Tensor, _parameters: Parameters) -> Cloud:
    """Turn each particle about the mean of its voxels' positions."""
    unit = torch.eye(3, dtype=torch.float64, device=keys.device)[:, :, None]
    turn = torch.where(chosen, _rotations(keys), unit).float()
    shift = cloud.centroid - (turn * cloud.centroid).sum(1)
    return replace(cloud, turn=turn).shifted(shift.float())


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
    unit = torch.eye(3, dtype=torch.float64, device=keys.device)[:, :, None]
    return (2 * w * w - 1) * unit + 2 * (vector[:, None] * vector + w * cross)


def _jitter(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    bits = cloud.rows.bits(keys)
    sigma = cloud.rows.spread(_strength(chosen, parameters.jitter_voxels))
    return replace(cloud, moves=sigma * torch.stack([normal(bits, axis) for axis in range(3)]))


def _translate(cloud: Cloud, chosen: Tensor, keys: Tensor, parameters: Parameters) -> Cloud:
    first, second = fold_in(keys, 0), fold_in(keys, 1)
    u = torch.stack([uniform(first), uniform(first, 1), uniform(second)])
    # In steps that a float32 coordinate holds: all voxels of a particle that did not turn then
    # round alike, and no two fall together.
    steps = (u * (parameters.translate_voxels / _TRANSLATION_STEP)).floor_()
    return cloud.shifted(steps * _strength(chosen, _TRANSLATION_STEP))


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
