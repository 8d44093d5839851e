"""Views of particles: drawn augmentations, voxels again, and energies as the network sees them.

A whole batch at once, on the device that holds it. What a particle's view is depends on (seed,
epoch, particle, view) alone: not on its batch, and not on workers, ranks or devices (between
devices the last bits of a float may differ, and with them, rarely, a voxel on an edge).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from clr_train import host
from clr_train.batch import ParticleBatch, VoxelBatch
from clr_train.keys import fold_in, key
from clr_train.views.augmentations import AUGMENTATIONS, Parameters
from clr_train.views.augmented_batch import Cloud, Rows
from pilarnet_convert.errors import PilarnetError

__all__ = ["ENERGY_TRANSFORMS", "ViewConfig", "drawn", "plain", "transform_energy", "views"]

#: Energy that a minimum-ionising particle leaves in a voxel of 3 mm, MeV.
MIP_MEV: Final = 0.63
#: Where `log` turns from linear to logarithmic, MeV: well under a minimum-ionising voxel.
LOG_SCALE_MEV: Final = 0.1

ENERGY_TRANSFORMS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "log": "log(1 + E / 0.1 MeV), in units of its value for a minimum-ionising voxel "
        "(0.63 MeV): a muon's track reads 1.0, a proton's end (10 MeV and more) above 2.3",
        "sqrt-clip": "sqrt(E / 1 MeV), cut at 1, the original study's: it saturates at 1 MeV, so "
        "a proton's end reads like any other dense voxel",
        "none": "E in MeV",
    }
)

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
        _check_transform(self.energy_transform)


def views(
    batch: ParticleBatch, *, seed: int, epoch: int, view: int, count: int = 1, config: ViewConfig
) -> VoxelBatch:
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
    VoxelBatch
        ``count * N`` particles, each with a voxel or more; rows sorted by (particle, x, y, z), each
        site once. The energies of voxels that fall together are summed before the transform.
    """
    numbers = range(view, view + count)
    keys = torch.cat([_keys(batch.particle, seed=seed, epoch=epoch, view=n) for n in numbers])
    chosen = _choose(keys, config)
    effects = fold_in(keys, _numbers(keys) + _EFFECTS)
    cloud = _cloud(batch, count=count)
    for name, augmentation in AUGMENTATIONS.items():
        if name in config.augmentations and augmentation.apply is not None:
            drawn_by = chosen[config.augmentations.index(name)]
            effect = effects[augmentation.number]
            cloud = augmentation.apply(cloud, drawn_by, effect, config.parameters)
    return _quantise(cloud, config.energy_transform)


def plain(batch: ParticleBatch, *, energy_transform: str) -> VoxelBatch:
    """Give the voxels of a batch as they are, in the form of a view: for evaluation."""
    _check_transform(energy_transform)
    return _quantise(_cloud(batch), energy_transform)


def drawn(
    particle: Tensor, *, seed: int, epoch: int, view: int, config: ViewConfig
) -> list[tuple[str, ...]]:
    """Name the augmentations that `views` draws for each particle, in order of application.

    Parameters
    ----------
    particle : Tensor, int64 [N]
        Indices of particles in their split, as in `ParticleBatch`.
    seed, epoch, view, config
        As for `views`.

    Returns
    -------
    list of tuple of str
    """
    chosen = _choose(_keys(particle, seed=seed, epoch=epoch, view=view), config).T.tolist()
    order = list(AUGMENTATIONS)
    return [
        tuple(
            sorted(
                (n for n, c in zip(config.augmentations, row, strict=True) if c), key=order.index
            )
        )
        for row in chosen
    ]


def transform_energy(energy: Tensor, *, name: str) -> Tensor:
    """Turn energies into features.

    Parameters
    ----------
    energy : Tensor, float32
        MeV, 0 or more.
    name : str
        One of `ENERGY_TRANSFORMS`, which says what each is.

    Returns
    -------
    Tensor, float32, same shape
    """
    return _TRANSFORMS[name](energy)


_TRANSFORMS: Final[Mapping[str, Callable[[Tensor], Tensor]]] = MappingProxyType(
    {
        "log": lambda e: (e / LOG_SCALE_MEV).log1p() / math.log1p(MIP_MEV / LOG_SCALE_MEV),
        "sqrt-clip": lambda e: e.clamp(0.0, 1.0).sqrt(),
        "none": lambda e: e,
    }
)


def _check_transform(name: str) -> None:
    if name not in ENERGY_TRANSFORMS:
        raise PilarnetError(
            "no such energy transform",
            field="--energy-transform",
            expected=f"one of {', '.join(ENERGY_TRANSFORMS)}",
            found=name,
        )


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


def _cloud(batch: ParticleBatch, *, count: int = 1) -> Cloud:
    """Put `count` copies of a batch one after the other."""
    position = batch.xyz.T.to(torch.float32, memory_format=torch.contiguous_format)
    rows = Rows.of(batch)
    centroid = rows.total(position) / rows.size
    copies = torch.arange(count, device=batch.device)[:, None] * batch.num_voxels
    offset = torch.cat([batch.offset[:1], (copies + batch.offset[1:]).flatten()])
    return Cloud(
        rows=Rows(offset=offset, num_voxels=count * batch.num_voxels),
        position=position.repeat(1, count),
        energy=batch.energy.repeat(count),
        centroid=centroid.repeat(1, count),
    )


def _quantise(cloud: Cloud, energy_transform: str) -> VoxelBatch:
    """Put a cloud on the grid: nearest voxel, energies summed, rows sorted, removed ones left out.

    Sites are sorted as integers: from the high bits down the particle, then x, y and z, each
    moved by half its range so that negative ones sort as they should.
    """
    num_particles = len(cloud.rows.size)
    bits = (63 - max(1, (num_particles - 1).bit_length())) // 3
    # Not round(): it takes halves to even, and two neighbours at a half would fall together.
    site = cloud.moved().add_(0.5).floor_()
    low, high = site.aminmax()
    if host.holds(site):
        # Shorter words sort faster; a GPU, which would have to be asked, sorts the longest as fast.
        bits = min(bits, 1 + int(torch.maximum(high, -low) + 1).bit_length())
    half = 1 << (bits - 1)
    words = cloud.rows.spread(torch.arange(num_particles, device=site.device))
    for axis in site.int().add_(half):
        words = torch.add(axis, words, alpha=1 << bits)
    alive = torch.ones_like(words, dtype=torch.bool) if cloud.alive is None else cloud.alive
    words = torch.where(alive, words, (num_particles << 3 * bits) - 1)
    words, order = words.sort(stable=True)
    first = torch.ones_like(alive)
    first[1:] = words[1:] != words[:-1]
    group = first.cumsum(0).sub_(1)
    # The one look at the device: how many sites there are, and whether they all fit.
    count = group[-1] + alive.all()
    facts = torch.stack([count, torch.maximum(high, -low).long()])
    num_sites, largest = facts.tolist()
    if largest >= half - 1:
        raise PilarnetError(
            "coordinates too large to sort so many particles at once",
            field="voxels",
            expected=f"less than {half - 1} for {num_particles} particles",
            found=largest,
            advice="use a smaller batch",
        )
    energy = torch.zeros_like(cloud.energy).scatter_add_(
        0, group, cloud.energy.index_select(0, order)
    )
    site_words = torch.empty_like(words).scatter_(0, group, words)[:num_sites]
    xyz = torch.empty((num_sites, 3), dtype=torch.int32, device=words.device)
    for column in range(3):
        index = (site_words >> ((2 - column) * bits)).int()  # what it cuts off is of other axes
        xyz[:, column] = index.bitwise_and_(2 * half - 1).sub_(half)
    return VoxelBatch(
        xyz=xyz,
        batch=site_words >> (3 * bits),
        features=transform_energy(energy[:num_sites], name=energy_transform)[:, None],
        num_particles=num_particles,
    )
