"""Views of particles: augmentations are drawn and applied, and the voxels put on the grid again.

A whole batch is made at once, on the device that holds it. A particle's view depends on (seed,
epoch, particle, view) alone: not on the other particles of its batch, on workers, ranks or devices.
(Between devices the last bits of a float may differ, and so, rarely, the site of a voxel on the
border of two.)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.keys import fold_in, key, uniform
from clr_train.views import energy_changes, motions, voxel_changes
from clr_train.views.augmented_batch import AugmentedBatch, Draw
from clr_train.views.config import AUGMENTATION_NAMES, ViewConfig
from clr_train.views.detector import Detector
from clr_train.views.quantise import quantise
from clr_train.views.throw import drift_through, throw

__all__ = ["AUGMENTATIONS", "as_sites", "drawn_augmentations", "make_views", "thrown"]

_Change = Callable[[AugmentedBatch, Draw, ViewConfig], AugmentedBatch]


@dataclass(frozen=True)
class Augmentation:
    """One thing that a view may do.

    Parameters
    ----------
    number : int
        Its key in the hash of a draw; never changes, whatever is added to the table.
    apply : callable or None
        Changes a batch, given which particles drew it, and the strengths; None does nothing. It
        computes on all particles, with strength 0 for those that did not draw it.
    """

    number: int
    apply: _Change | None


_TABLE: Final[Mapping[str, Augmentation]] = {
    "throw": Augmentation(9, throw),
    "shift-energy": Augmentation(2, energy_changes.shift_energy),
    "shift-energy-normal": Augmentation(10, energy_changes.shift_energy_normal),
    "scale-energy": Augmentation(4, energy_changes.scale_energy),
    "smear-energy": Augmentation(5, energy_changes.smear_energy),
    "noise": Augmentation(11, voxel_changes.add_noise),
    "threshold": Augmentation(12, voxel_changes.threshold),
    "crop": Augmentation(13, voxel_changes.crop),
    "cutout": Augmentation(6, voxel_changes.cutout),
    "drop": Augmentation(3, voxel_changes.drop),
    "flip": Augmentation(14, motions.flip),
    "scale": Augmentation(15, motions.scale),
    "rotate": Augmentation(0, motions.rotate),
    "jitter": Augmentation(7, motions.jitter),
    "translate": Augmentation(1, motions.translate),
    "identity": Augmentation(8, None),
}
#: Every augmentation by name, in the order of application, whatever the order in which a user lists
#: names: first the detector, then energies, then what is added and removed, so that a cutout is
#: aligned with the axes of the detector whether or not the particle is rotated; then the motions.
AUGMENTATIONS: Final = MappingProxyType({name: _TABLE[name] for name in AUGMENTATION_NAMES})

# Keys of a particle's view: below this for the draw of augmentations, from here on for their use.
_EFFECTS: Final = 1024
_WITH_REPLACEMENT: Final = 512


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
        ``count * N`` particles, each with a site or more. The energies of voxels at one site are
        summed before the transform.
    """
    numbers = range(view, view + count)
    keys = torch.cat([_keys(batch.particle, seed=seed, epoch=epoch, view=n) for n in numbers])
    times = _draw(keys, config)
    most = config.num_augmentations if config.draw == "with-replacement" else 1
    augmented = AugmentedBatch.of(batch, copies=count)
    for name, augmentation in AUGMENTATIONS.items():
        if name not in config.augmentations or augmentation.apply is None:
            continue
        effect = fold_in(keys, _EFFECTS + augmentation.number)
        for repeat in range(most):
            chosen = times[config.augmentations.index(name)] > repeat
            draw = Draw(chosen=chosen, keys=fold_in(effect, repeat) if repeat else effect)
            augmented = augmentation.apply(augmented, draw, config)
    return quantise(augmented, energy_transform=config.energy_transform)


def as_sites(batch: ParticleBatch, *, energy_transform: str) -> SiteBatch:
    """Put the voxels of a batch on the grid without augmentation, as evaluation does.

    Energies of repeated voxels are summed, then transformed.

    Parameters
    ----------
    batch : ParticleBatch
        N particles, every one with a voxel or more.
    energy_transform : str
        One of `clr_train.views.energy.ENERGY_TRANSFORMS`.

    Returns
    -------
    SiteBatch
        N particles in the same order, each with a site or more.
    """
    return quantise(AugmentedBatch.of(batch), energy_transform=energy_transform)


def thrown(batch: ParticleBatch, *, detector: Detector, drift_axis: str = "x") -> ParticleBatch:
    """Return the particles of a batch as another detector reads them, in the same order."""
    read = drift_through(AugmentedBatch.of(batch), detector=detector, drift_axis=drift_axis)
    return quantise(read, energy_transform="none").as_particles(like=batch)


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
    times = _draw(_keys(particle, seed=seed, epoch=epoch, view=view), config).T.tolist()
    order = [config.augmentations.index(n) for n in AUGMENTATIONS if n in config.augmentations]
    return [tuple(config.augmentations[i] for i in order for _ in range(row[i])) for row in times]


def _keys(particle: Tensor, *, seed: int, epoch: int, view: int) -> Tensor:
    """Make the key of each particle's view, int64 [N]."""
    return fold_in(key(seed, epoch, view, device=particle.device), particle)


def _draw(keys: Tensor, config: ViewConfig) -> Tensor:
    """Draw how often each particle's view takes each augmentation, int64 [listed, N]."""
    listed = len(config.augmentations)
    if config.num_augmentations == 0:
        return keys.new_zeros((listed, len(keys)))
    if config.draw == "with-replacement":
        draws = torch.arange(config.num_augmentations, device=keys.device)[:, None]
        pick = (uniform(fold_in(keys, _WITH_REPLACEMENT + draws)) * listed).long()
        names = torch.arange(listed, device=keys.device)[:, None, None]
        return (pick == names).sum(1)
    # The names with the smallest random words are drawn; two are equal once in 2**64.
    words = torch.stack([fold_in(keys, AUGMENTATIONS[n].number) for n in config.augmentations])
    last = words.kthvalue(config.num_augmentations, dim=0).values
    return (words <= last).long()
