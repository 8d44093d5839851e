"""Small shards of made-up particles, whose classes differ in shape and energy."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.shards.format import ARRAYS
from tests.writing import write_set

#: Energy of a voxel, MeV, and steps sideways, by label.
_MEAN_ENERGY = (0.5, 4.0, 0.8, 0.6, 1.5)
_WANDERING = (0.9, 0.05, 0.7, 0.0, 0.2)


def make_particle(
    label: int, rng: np.random.Generator
) -> tuple[NDArray[np.uint16], NDArray[np.float32]]:
    """Walk along a direction, more or less straight, and leave energy at each step."""
    steps = int(rng.integers(12, 40))
    direction = rng.normal(size=3)
    direction /= np.linalg.norm(direction)
    walk = np.cumsum(direction + _WANDERING[label] * rng.normal(size=(steps, 3)), axis=0)
    start = rng.uniform(60, 120, size=3)
    xyz = np.unique(np.clip(np.rint(start + walk), 0, 191).astype(np.uint16), axis=0)
    energy = _MEAN_ENERGY[label] * rng.gamma(4, 0.25, size=len(xyz))
    return xyz, energy.astype(np.float32)


def make_shards(
    path: Path,
    counts: Mapping[str, int],
    *,
    seed: int = 0,
    in_order: bool = False,
    **known: float,
) -> Path:
    """Write shards with this number of particles in each split, in two shards if it can be.

    With `in_order` the particles of each shard are sorted by their class. `known` are the values of
    columns, the same for all particles.
    """
    shards = {}
    for number, (split, count) in enumerate(counts.items()):
        rng = np.random.default_rng([seed, number])
        halves = [count - count // 2, count // 2]
        for index, size in enumerate(size for size in halves if size):
            columns = {
                name: np.full(size, value, ARRAYS[name].dtype) for name, value in known.items()
            }
            shards[f"{split}/{index:05d}"] = _arrays(size, rng, in_order=in_order) | columns
    return write_set(path, shards)


def _arrays(count: int, rng: np.random.Generator, *, in_order: bool) -> dict[str, NDArray[Any]]:
    label = rng.integers(0, 5, size=count)
    if in_order:
        label = np.sort(label)
    particles = [make_particle(int(name), rng) for name in label]
    xyz = np.concatenate([particle[0] for particle in particles])
    return {
        **dict(zip("xyz", xyz.T, strict=True)),
        "energy": np.concatenate([particle[1] for particle in particles]),
        "label": label.astype(np.int8),
        "offset": np.cumsum([0, *(len(particle[1]) for particle in particles)]),
    }
