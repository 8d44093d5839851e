"""What a view may do to a particle: a registry of small functions on a ragged batch.

Each takes a cloud whose particles own a voxel or more, one key a particle, and the parameters, and
returns the new value of the one field that it changes, as if all particles had drawn it: to apply
it to all and keep some needs no look at the device. None loops over particles.

V voxels, N particles. ``AUGMENTATIONS`` stands in the order of application: energies first, on
the voxels that the detector read; then what is removed, on the axes of the detector; then the
motions, which end off the grid: rotation, jitter, translation. So a cutout is aligned with the
axes whether or not the particle is rotated, and the order in which names are listed is of no
consequence.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from clr_train.rng import fold, normals, uniform

__all__ = ["AUGMENTATIONS", "Augmentation", "Cloud", "Parameters"]

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
class Cloud:
    """A ragged batch on its way through the augmentations.

    Parameters
    ----------
    position : Tensor, float32 [3, V]
        Voxels; whole numbers until something moves them.
    energy : Tensor, float32 [V]
        MeV.
    alive : Tensor, bool [V]
        False where a voxel was removed; its row stays, so that shapes need no look at the device.
    offset : Tensor, int64 [N + 1]
        First row of each particle.
    owner : Tensor, int64 [V]
        Particle of each row.
    place : Tensor, int64 [V]
        Place of each row in its particle, from 0.
    """

    position: Tensor
    energy: Tensor
    alive: Tensor
    offset: Tensor
    owner: Tensor
    place: Tensor

    def voxel_bits(self, keys: Tensor) -> Tensor:
        """Draw 64 random bits for each voxel, keyed by particle and place in it, int64 [V]."""
        return fold(self.spread(keys), self.place)

    def spread(self, values: Tensor) -> Tensor:
        """Give each voxel the value of its particle, [N] -> [V] or [R, N] -> [R, V]."""
        # index_select: on the CPU several times as fast as indexing by a tensor in brackets.
        return values.index_select(-1, self.owner)


Function = Callable[[Cloud, Tensor, Parameters], Tensor]


def _shift_energy(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    factor = 1.0 - parameters.shift_energy * uniform(fold(keys, 0))
    return cloud.energy * cloud.spread(factor)


def _scale_energy(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    factor = 1.0 + parameters.scale_energy_sigma * normals(cloud.voxel_bits(keys))
    return cloud.energy * factor.clamp_(min=0.0)


def _smear_energy(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    noise = parameters.smear_energy_mev * normals(cloud.voxel_bits(keys))
    return (cloud.energy + noise).clamp_(min=0.0)


def _cutout(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    """Remove a cube about one of the particle's voxels, drawn evenly.

    Its edge is uniform below a fraction of the longest extent. As that is less than the extent,
    a cube never holds both ends of it: some voxel is always left.
    """
    bits = fold(keys, 0)
    size = cloud.offset.diff()
    pick = (uniform(bits, 0).double() * size).long()
    centre = cloud.position[:, cloud.offset[:-1] + pick]
    low, high = (_per_particle(cloud.position, cloud.offset, how) for how in ("min", "max"))
    half = 0.5 * parameters.cutout_fraction * uniform(bits, 1) * (high - low).amax(0)
    distance = (cloud.position - cloud.spread(centre)).abs_().amax(0)
    return cloud.alive & (distance >= cloud.spread(half))


def _drop(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    """Remove each voxel by itself; should all go, the one with the largest draw stays."""
    draw = torch.where(cloud.alive, uniform(cloud.voxel_bits(keys)), -1.0)
    best = _per_particle(draw[None], cloud.offset, "max")[0]
    kept = (draw >= parameters.drop_probability) | (draw == cloud.spread(best))
    return cloud.alive & kept


def _rotate(cloud: Cloud, keys: Tensor, _parameters: Parameters) -> Tensor:
    """Turn each particle about the mean of its voxels' positions."""
    # Sums of whole numbers are exact in float64, in any order and company.
    total = cloud.position.double().cumsum(1).index_select(1, cloud.offset[1:] - 1)
    total = total.diff(dim=1, prepend=total.new_zeros((3, 1)))
    centre = cloud.spread((total / cloud.offset.diff()).float())
    x, y, z = cloud.position - centre
    turn = cloud.spread(_rotations(keys).float().flatten(0, 1)).view(3, 3, -1)
    # Written out, not a matrix product, whose order of summation is the library's affair.
    return torch.stack([(a * x).add_(b * y).add_(c * z) for a, b, c in turn]).add_(centre)


def _rotations(keys: Tensor) -> Tensor:
    """Draw rotations uniform over SO(3), float64 [3, 3, N].

    From uniform quaternions: K. Shoemake, "Uniform random rotations", Graphics Gems III (1992),
    p. 124.
    """
    first, second = fold(keys, 0), fold(keys, 1)
    u1, u2, u3 = (u.double() for u in (uniform(first), uniform(first, 1), uniform(second)))
    a, b = 2 * math.pi * u2, 2 * math.pi * u3
    r1, r2 = (1 - u1).sqrt(), u1.sqrt()
    x, y, z, w = r1 * a.sin(), r1 * a.cos(), r2 * b.sin(), r2 * b.cos()
    rows = (
        (1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)),
        (2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)),
        (2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)),
    )
    return torch.stack([torch.stack(row) for row in rows])


def _jitter(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    bits = cloud.voxel_bits(keys)
    moves = torch.stack([normals(bits, axis) for axis in range(3)])
    return cloud.position + parameters.jitter_voxels * moves


def _translate(cloud: Cloud, keys: Tensor, parameters: Parameters) -> Tensor:
    first, second = fold(keys, 0), fold(keys, 1)
    u = torch.stack([uniform(first), uniform(first, 1), uniform(second)])
    # In steps that a float32 coordinate holds: all voxels of a particle that did not turn then
    # round alike, and no two fall together.
    steps = (u * (parameters.translate_voxels / _TRANSLATION_STEP)).floor_()
    return cloud.position + cloud.spread(steps * _TRANSLATION_STEP)


def _per_particle(values: Tensor, offset: Tensor, how: str) -> Tensor:
    """Reduce rows of values to particles, float32 [R, V] -> [R, N], by "min" or "max"."""
    return torch.stack([torch.segment_reduce(row, how, offsets=offset) for row in values])


@dataclass(frozen=True, kw_only=True)
class Augmentation:
    """One thing that a view may do.

    Parameters
    ----------
    number : int
        Its key in the hash of a draw; never changes, whatever is added to the registry.
    field : str
        The field of `Cloud` that `apply` returns.
    apply : callable or None
        The function; None does nothing.
    meaning : str
        What it does, for help texts and pictures.
    """

    number: int
    field: str
    apply: Function | None
    meaning: str


def _registry() -> Mapping[str, Augmentation]:
    table: tuple[tuple[str, int, str, Function | None, str], ...] = (
        ("shift-energy", 2, "energy", _shift_energy, "one factor 1 - 0.1 u for the particle"),
        ("scale-energy", 4, "energy", _scale_energy, "a normal factor for each voxel"),
        ("smear-energy", 5, "energy", _smear_energy, "normal noise on each voxel's energy"),
        ("cutout", 6, "alive", _cutout, "a random cube is removed"),
        ("drop", 3, "alive", _drop, "each voxel is removed with a probability"),
        ("rotate", 0, "position", _rotate, "uniform over SO(3), about the centroid"),
        ("jitter", 7, "position", _jitter, "normal noise on each voxel's position"),
        ("translate", 1, "position", _translate, "uniform on each axis"),
        ("identity", 8, "energy", None, "nothing"),
    )
    return MappingProxyType(
        {
            name: Augmentation(number=number, field=field, apply=apply, meaning=meaning)
            for name, number, field, apply, meaning in table
        }
    )


#: Every augmentation by name, in the order of application.
AUGMENTATIONS: Final[Mapping[str, Augmentation]] = _registry()
