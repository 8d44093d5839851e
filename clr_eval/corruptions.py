"""Corruptions of test data, to measure how robust a classifier is.

A corruption that is also an augmentation of the training is applied to every particle, at a fixed
strength. Corrupted particles have the form of stored ones, so that handcrafted features can be
computed too.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any, Final

import torch

from clr_train.batch import ParticleBatch
from clr_train.keys import fold_in, key, uniform
from clr_train.ragged import RaggedIndex, offsets_of
from clr_train.views.augmented_batch import AugmentedBatch
from clr_train.views.config import ViewConfig
from clr_train.views.detector import throw_towards
from clr_train.views.make import make_views, thrown
from clr_train.views.quantise import quantise

__all__ = ["CORRUPTIONS", "NOISE_MARGIN", "NOISE_MEV", "Corruption"]

#: Mean energy of a noise voxel, MeV: a third of what a minimum-ionising particle leaves.
NOISE_MEV: Final = 0.2
#: Distance from a particle's bounding box up to which noise is added, voxels.
NOISE_MARGIN: Final = 5
#: Number of the view, which differs from those of training with the same seed.
_VIEW: Final = 3
_NOISE: Final = 0x2015E

Function = Callable[[ParticleBatch, float, int], ParticleBatch]


@dataclass(frozen=True, kw_only=True)
class Corruption:
    """One way to corrupt particles of one voxel or more each.

    Attributes
    ----------
    title, axis : str
        Its name, and the name of its level, with the unit.
    levels : tuple of float
        The levels that are evaluated; 0 changes nothing.
    least, most : float
        The smallest and the largest level that can be applied.
    apply : callable
        Takes particles, a level and a seed; gives the same particles, none without voxels. The
        draw for a particle depends on the seed and ``batch.particle``, not on other particles.
    """

    title: str
    axis: str
    levels: tuple[float, ...]
    least: float = 0.0
    most: float = 1000.0
    apply: Function


def _throw(batch: ParticleBatch, level: float, _seed: int) -> ParticleBatch:
    return thrown(batch, detector=throw_towards(level))


def _scale(batch: ParticleBatch, level: float, _seed: int) -> ParticleBatch:
    return replace(batch, energy=batch.energy * (1.0 + level))


def _augmented(augmentation: str, parameter: str) -> Function:
    """Make a corruption from an augmentation; the level is its strength."""

    def apply(batch: ParticleBatch, level: float, seed: int) -> ParticleBatch:
        strength: dict[str, Any] = {parameter: level}
        config = ViewConfig(
            augmentations=(augmentation,),
            num_augmentations=1,
            energy_transform="none",
            **strength,
        )
        sites = make_views(batch, seed=seed, epoch=0, view=_VIEW, config=config)
        return sites.as_particles(like=batch)

    return apply


def _threshold(batch: ParticleBatch, level: float, _seed: int) -> ParticleBatch:
    """Remove voxels of less energy than the level; the brightest of a particle stays."""
    index = batch.index
    brightest = index.broadcast(index.max(batch.energy, dim=-1), dim=-1)
    kept = (batch.energy >= level) | (batch.energy == brightest)
    count = torch.bincount(index.particle[kept], minlength=batch.num_particles)
    return replace(batch, xyz=batch.xyz[kept], energy=batch.energy[kept], offset=offsets_of(count))


def _add_noise(batch: ParticleBatch, level: float, seed: int) -> ParticleBatch:
    """Add voxels at random positions in the bounding box of each particle and a margin around it.

    Their number is the level times the number of the particle's voxels, rounded at random to keep
    the mean; their energy is exponential. Where one falls on a voxel, the energies are summed.
    """
    keys = fold_in(key(seed, _NOISE, device=batch.device), batch.particle)
    stored = AugmentedBatch.of(batch)
    wanted = level * stored.index.count.double()
    count = (wanted + uniform(fold_in(keys, 0)).double()).floor().long()
    noise = RaggedIndex(offsets_of(count), num_rows=int(count.sum()))
    words = fold_in(noise.broadcast(fold_in(keys, 1), dim=-1), noise.local_index)
    draws = torch.stack([uniform(fold_in(words, axis)) for axis in range(4)])
    low, high = stored.index.min(stored.position), stored.index.max(stored.position, dim=-1)
    span = noise.broadcast(high - low + 2 * NOISE_MARGIN + 1, dim=-1)
    position = noise.broadcast(low - NOISE_MARGIN, dim=-1) + draws[:3] * span
    energy = -NOISE_MEV * torch.log1p(-draws[3])
    noisy = stored.append(noise, position=position.floor(), energy=energy)
    return quantise(noisy, energy_transform="none").as_particles(like=batch)


#: By their names in report.json.
CORRUPTIONS: Final[Mapping[str, Corruption]] = MappingProxyType(
    {
        "energy-scale": Corruption(
            title="energy scale",
            axis="change of all energies [%]",
            levels=(-0.3, -0.2, -0.1, 0.0, 0.1, 0.2, 0.3),
            least=-0.99,
            apply=_scale,
        ),
        "smear-energy": Corruption(
            title="smeared energy",
            axis="noise on each voxel [MeV]",
            levels=(0.0, 0.05, 0.1, 0.2, 0.4),
            apply=_augmented("smear-energy", "smear_energy_mev"),
        ),
        "jitter": Corruption(
            title="smeared positions",
            axis="noise on each coordinate [voxel]",
            levels=(0.0, 0.3, 0.6, 1.0, 2.0),
            apply=_augmented("jitter", "jitter_voxels"),
        ),
        "drop": Corruption(
            title="dropped voxels",
            axis="voxels lost at random [%]",
            levels=(0.0, 0.1, 0.2, 0.3, 0.5),
            most=0.99,
            apply=_augmented("drop", "drop_probability"),
        ),
        "threshold": Corruption(
            title="faint voxels lost",
            axis="threshold [MeV]",
            levels=(0.0, 0.05, 0.1, 0.2, 0.4),
            apply=_threshold,
        ),
        "noise": Corruption(
            title="noise voxels added",
            axis="voxels added, of those there [%]",
            levels=(0.0, 0.05, 0.1, 0.2, 0.5),
            most=10.0,
            apply=_add_noise,
        ),
        "throw": Corruption(
            title="detector throw",
            axis="lifetime, diffusion and field, towards the ends of their ranges [%]",
            levels=(-1.0, -0.5, 0.0, 0.5, 1.0),
            least=-1000.0,
            apply=_throw,
        ),
    }
)
