"""Features of a particle that a physicist would write down: the baseline of a learned encoder."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch

__all__ = ["HANDMADE_FEATURES", "handmade_features"]

HANDMADE_FEATURES: Final = (
    "num_voxels",
    "energy_sum",
    "energy_mean",
    "energy_spread",
    "energy_max",
    "energy_p90",
    "extent_x",
    "extent_y",
    "extent_z",
    "linearity",
    "planarity",
)


def handmade_features(batch: ParticleBatch) -> NDArray[np.float64]:
    """Compute the features of each particle, all particles at once.

    Parameters
    ----------
    batch : ParticleBatch
        On the CPU; no particle without voxels.

    Returns
    -------
    float64 array [N, 11]
        In the order of `HANDMADE_FEATURES`: the number of voxels; sum, mean, standard deviation,
        maximum and 90th percentile (linear interpolation) of the energy of its voxels, MeV; the
        largest minus the smallest coordinate along each axis, voxels; linearity (l1 - l2) / l1
        and planarity (l2 - l3) / l1 with l1 >= l2 >= l3 the eigenvalues of the covariance of
        the coordinates (0 for a single voxel).

    Raises
    ------
    ValueError
        A particle without voxels.
    """
    offset = batch.offset.numpy()
    xyz = batch.xyz.numpy().astype(np.float64)
    energy = batch.energy.numpy().astype(np.float64)
    count = np.diff(offset)
    if not (count > 0).all():
        raise ValueError(f"particle {int(np.argmin(count))} of the batch has no voxels")
    start = offset[:-1]
    owner = np.repeat(np.arange(len(count)), count)
    total = np.add.reduceat(energy, start)
    mean = total / count
    spread = np.sqrt(np.add.reduceat((energy - mean[owner]) ** 2, start) / count)
    extent = np.maximum.reduceat(xyz, start) - np.minimum.reduceat(xyz, start)
    linearity, planarity = _shape(xyz, owner=owner, start=start, count=count)
    return np.column_stack(
        [
            count,
            total,
            mean,
            spread,
            np.maximum.reduceat(energy, start),
            _percentile(energy, 0.9, owner=owner, start=start, count=count),
            extent,
            linearity,
            planarity,
        ]
    )


def _percentile(
    values: NDArray[np.float64],
    share: float,
    *,
    owner: NDArray[np.int64],
    start: NDArray[np.int64],
    count: NDArray[np.int64],
) -> NDArray[np.float64]:
    ordered = values[np.lexsort((values, owner))]
    position = share * (count - 1)
    below = np.floor(position).astype(np.int64)
    above = np.minimum(below + 1, count - 1)
    weight = position - below
    low, high = ordered[start + below], ordered[start + above]
    quantile: NDArray[np.float64] = low + weight * (high - low)
    return quantile


def _shape(
    xyz: NDArray[np.float64],
    *,
    owner: NDArray[np.int64],
    start: NDArray[np.int64],
    count: NDArray[np.int64],
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    centred = xyz - (np.add.reduceat(xyz, start) / count[:, None])[owner]
    products = centred[:, :, None] * centred[:, None, :]
    covariance = np.add.reduceat(products, start) / count[:, None, None]
    third, second, first = np.linalg.eigvalsh(covariance).clip(min=0).T
    scale = np.where(first > 0, first, 1)
    return (first - second) / scale, (second - third) / scale
