"""Views of particles: augmentations are drawn, applied, and the voxels put on the grid again.

A whole batch at once, on the device that holds it. A particle's view depends on (seed, epoch,
particle, view) alone: not on the other particles of its batch, nor on workers, ranks or devices.
(Between devices the last bits of a float may differ, and so, rarely, the site of a voxel that lies
on an edge.)
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.keys import fold_in, key
from clr_train.views.augmentations import AUGMENTATIONS, Draw, Parameters
from clr_train.views.augmented_batch import AugmentedBatch
from clr_train.views.energy import check_transform
from clr_train.views.quantise import quantise
from pilarnet_convert.errors import PilarnetError

__all__ = ["ViewConfig", "as_sites", "drawn_augmentations", "make_views"]

# Keys of a particle's view: below this the draw of the augmentations, from here on their own.
_EFFECTS: Final = 1024


@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How views are made.

    Parameters
    ----------
    augmentations : tuple of str
        Names from `AUGMENTATIONS` to draw from; the default is the original study's.
    num_augmentations : int
        How many each view draws, without replacement.
    parameters : Parameters
        How strong they are.
    energy_transform : str
        A name from `ENERGY_TRANSFORMS`.

    Raises
    ------
    PilarnetError
        If a name is unknown or repeated, or fewer are listed than are drawn.
    """

    augmentations: tuple[str, ...] = ("rotate", "translate", "shift-energy", "drop")
    num_augmentations: int = 2
    parameters: Parameters = field(default_factory=Parameters)
    energy_transform: str = "log"

    def __post_init__(self) -> None:
        for name in self.augmentations:
            if name not in AUGMENTATIONS:
                raise PilarnetError(
                    "no such augmentation",
                    field="--augmentations",
                    expected=f"some of {', '.join(AUGMENTATIONS)}",
                    found=name,
                )
        if len(set(self.augmentations)) < len(self.augmentations):
            raise PilarnetError(
                "an augmentation is named twice",
                field="--augmentations",
                found=", ".join(self.augmentations),
                advice="name each once",
            )
        if not 0 <= self.num_augmentations <= len(self.augmentations):
            raise PilarnetError(
                "cannot draw so many augmentations",
                field="--num-augmentations",
                expected=f"0 to {len(self.augmentations)}, as many as --augmentations names",
                found=self.num_augmentations,
            )
        check_transform(self.energy_transform)


def make_views(
    batch: ParticleBatch, *, seed: int, epoch: int, view: int, count: int = 1, config: ViewConfig
) -> SiteBatch:
    """Make views of every particle of a batch.

    Parameters
    ----------
    batch : ParticleBatch
        N particles, every one with a voxel or more.
    seed, epoch, view : int
        With ``batch.particle``, what the draw depends on. Two views of a pair differ in `view`.
    count : int
        How many views to make at once: `view` and those after it. Particle i of the k-th of them
        is particle ``k * N + i`` of the result.
    config : ViewConfig
        What may be drawn.

    Returns
    -------
    SiteBatch
        ``count * N`` particles, each with a site or more. The energies of voxels that fall together
        are summed before the transform.
    """
    numbers = range(view, view + count)
    keys = torch.cat([_keys(batch.particle, seed=seed, epoch=epoch, view=n) for n in numbers])
    chosen = _choose(keys, config)
    effects = fold_in(keys, _numbers(keys) + _EFFECTS)
    augmented = AugmentedBatch.of(batch, copies=count)
    for name, augmentation in AUGMENTATIONS.items():
        if name in config.augmentations and augmentation.apply is not None:
            row = config.augmentations.index(name)
            draw = Draw(chosen=chosen[row], keys=effects[augmentation.number])
            augmented = augmentation.apply(augmented, draw, config.parameters)
    return quantise(augmented, energy_transform=config.energy_transform)


def as_sites(batch: ParticleBatch, *, energy_transform: str) -> SiteBatch:
    """Return the voxels of a batch, unchanged, as sites: for evaluation."""
    check_transform(energy_transform)
    return quantise(AugmentedBatch.of(batch), energy_transform=energy_transform)


def drawn_augmentations(
    particle: Tensor, *, seed: int, epoch: int, view: int, config: ViewConfig
) -> list[tuple[str, ...]]:
    """Name the augmentations that `make_views` draws for each particle, in order of application.

    Parameters
    ----------
    particle : Tensor, int64 [N]
        Indices of particles in their split, as in `ParticleBatch`.
    seed, epoch, view, config
        As for `make_views`.

    Returns
    -------
    list of tuple of str
    """
    chosen = _choose(_keys(particle, seed=seed, epoch=epoch, view=view), config).T.tolist()
    order = [config.augmentations.index(n) for n in AUGMENTATIONS if n in config.augmentations]
    return [tuple(config.augmentations[i] for i in order if row[i]) for row in chosen]


def _keys(particle: Tensor, *, seed: int, epoch: int, view: int) -> Tensor:
    """Make the key of each particle's view, int64 [N]."""
    return fold_in(key(seed, epoch, view, device=particle.device), particle)


def _choose(keys: Tensor, config: ViewConfig) -> Tensor:
    """Draw augmentations for each particle, bool [listed, N], `num_augmentations` true in each."""
    if config.num_augmentations == 0:
        return keys.new_zeros((len(config.augmentations), len(keys)), dtype=torch.bool)
    # The names with the smallest random words win; words differ, up to one chance in 2**64.
    every = fold_in(keys, _numbers(keys))
    words = torch.stack([every[AUGMENTATIONS[name].number] for name in config.augmentations])
    last = words.kthvalue(config.num_augmentations, dim=0).values
    return words <= last


def _numbers(keys: Tensor) -> Tensor:
    """List the numbers of all augmentations, int64 [A, 1]; a hash of all at once costs as one."""
    return torch.arange(len(AUGMENTATIONS), device=keys.device)[:, None]
