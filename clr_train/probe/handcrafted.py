"""Features of a particle as a physicist would define them: a baseline for a learned encoder."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch

__all__ = ["HANDCRAFTED_FEATURES", "handcrafted_features"]

HANDCRAFTED_FEATURES: Final = (
    "num_voxels",
    "energy_sum",
    "energy_mean",
    "energy_spread",  # standard deviation
    "energy_max",
    "energy_p90",
    "extent_x",
    "extent_y",
    "extent_z",
    "linearity",
    "planarity",
)

Floats = NDArray[np.float64]


def handcrafted_features(batch: ParticleBatch) -> Floats:
    """Compute the `HANDCRAFTED_FEATURES` of each particle, float64 [N, 11].

    Energies are those of the voxels, MeV; their 90th percentile is interpolated linearly. The
    extent is the largest minus the smallest coordinate, voxels. Linearity is (l1 - l2) / l1 and
    planarity (l2 - l3) / l1, where l1 >= l2 >= l3 are the eigenvalues of the covariance of the
    coordinates (0 for a single voxel). The batch is on the CPU; a ValueError is raised if a
    particle has no voxels.
    """
    offset = batch.offset.numpy()
    start, count = offset[:-1], np.diff(offset)
    if not (count > 0).all():
        raise ValueError(f"particle {int(np.argmin(count))} of the batch has no voxels")
    xyz = batch.xyz.numpy().astype(np.float64)
    energy = batch.energy.numpy().astype(np.float64)
    total = np.add.reduceat(energy, start)
    mean = total / count
    variance = np.add.reduceat((energy - np.repeat(mean, count)) ** 2, start) / count
    return np.column_stack(
        [
            count,
            total,
            mean,
            np.sqrt(variance),
            np.maximum.reduceat(energy, start),
            _percentile(energy, 0.9, offset=offset),
            np.maximum.reduceat(xyz, start) - np.minimum.reduceat(xyz, start),
            *_linearity_planarity(xyz, offset=offset),
        ]
    )


def _percentile(values: Floats, share: float, *, offset: NDArray[np.int64]) -> Floats:
    start, count = offset[:-1], np.diff(offset)
    ordered = values[np.lexsort((values, np.repeat(np.arange(len(count)), count)))]
    position = share * (count - 1)
    below = np.floor(position).astype(np.int64)
    low, high = ordered[start + below], ordered[start + np.minimum(below + 1, count - 1)]
    percentile: Floats = low + (position - below) * (high - low)
    return percentile


def _linearity_planarity(xyz: Floats, *, offset: NDArray[np.int64]) -> tuple[Floats, Floats]:
    start, count = offset[:-1], np.diff(offset)
    centre = np.add.reduceat(xyz, start) / count[:, None]
    centred = xyz - np.repeat(centre, count, axis=0)
    products = centred[:, :, None] * centred[:, None, :]
    covariance = np.add.reduceat(products, start) / count[:, None, None]
    third, second, first = np.linalg.eigvalsh(covariance).clip(min=0).T
    scale = np.where(first > 0, first, 1)
    return (first - second) / scale, (second - third) / scale
