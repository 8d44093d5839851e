"""Made-up particles: short random walks, as ragged batches and as shards on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from pilarnet_convert.shards.format import SPLITS
from tests.writing import write_set

#: Particles of each made-up shard; the test split is empty.
SHARD_SIZES = {"train": (330, 75, 200), "val": (90,), "test": ()}


def make_particles(
    seed: int, num_particles: int, *, cube: int = 192, largest: int = 60
) -> list[tuple[NDArray[np.int32], NDArray[np.float32]]]:
    """Make particles of 1 to about `largest` distinct voxels, in ascending order of voxel id."""
    generator = np.random.default_rng(seed)
    particles = []
    for _ in range(num_particles):
        steps = generator.integers(-1, 2, (int(generator.integers(1, largest)), 3))
        walk = np.clip(generator.integers(0, cube, 3) + steps.cumsum(0), 0, cube - 1)
        xyz = np.unique(walk[:, ::-1], axis=0)[:, ::-1].astype(np.int32)
        particles.append((xyz, generator.exponential(0.7, len(xyz)).astype(np.float32)))
    return particles


def as_batch(
    particles: Sequence[tuple[NDArray[np.int32], NDArray[np.float32]]],
    *,
    particle: Sequence[int] | None = None,
) -> ParticleBatch:
    """Join particles into a ragged batch."""
    sizes = [len(energy) for _, energy in particles]
    return ParticleBatch(
        xyz=torch.from_numpy(np.ascontiguousarray(np.concatenate([c[0] for c in particles]))),
        energy=torch.from_numpy(np.concatenate([c[1] for c in particles])),
        offset=torch.tensor([0, *np.cumsum(sizes).tolist()]),
        label=torch.arange(len(particles)) % 5,
        particle=torch.tensor(range(len(particles)) if particle is None else particle),
    )


def make_batch(seed: int, num_particles: int, *, largest: int = 60) -> ParticleBatch:
    """Make a batch of `make_particles`."""
    return as_batch(make_particles(seed, num_particles, largest=largest))


def write_shards(path: Path, sizes: Mapping[str, Sequence[int]] = SHARD_SIZES) -> Path:
    """Write made-up shards of so many particles."""
    shards: dict[str, dict[str, NDArray[Any]]] = {}
    for split in SPLITS:
        first = 0
        for number, size in enumerate(sizes[split]):
            batch = make_batch(1000 * SPLITS.index(split) + number, size)
            index = np.arange(first, first + size)
            shards[f"{split}/{number:05d}"] = {
                "x": batch.xyz[:, 0].numpy(),
                "y": batch.xyz[:, 1].numpy(),
                "z": batch.xyz[:, 2].numpy(),
                "energy": batch.energy.numpy(),
                "offset": batch.offset.numpy(),
                # One class in seven is rare, as in the data.
                "label": np.where(index % 7 == 0, 4, index % 4),
            }
            first += size
    return write_set(path, shards)
