"""The features of all particles of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_train.batch import ParticleBatch
from pilarnet_convert.errors import PilarnetError, listed

__all__ = ["Features", "collect"]


@dataclass(frozen=True, kw_only=True)
class Features:
    """One vector for each particle, in the order of the stream.

    Parameters
    ----------
    values : float array [N, D]
    label : int64 array [N]
    particle : int64 array [N]
        Index of the particle in its split.
    """

    values: NDArray[np.floating]
    label: NDArray[np.int64]
    particle: NDArray[np.int64]

    def take(self, rows: NDArray[np.int64]) -> Features:
        """Select particles, in the order of `rows`."""
        return Features(
            values=self.values[rows], label=self.label[rows], particle=self.particle[rows]
        )

    def __repr__(self) -> str:
        num_particles, width = self.values.shape
        return f"<Features: {width:,} of {num_particles:,} particles>"


def collect(
    batches: Iterator[ParticleBatch],
    *,
    features: Callable[[ParticleBatch], Tensor | NDArray[np.floating]],
) -> Features:
    """Compute the features of all particles of a stream.

    Parameters
    ----------
    batches : iterator of ParticleBatch
        At least one, with at least one particle.
    features : callable
        Returns the features of a batch, float [N, D]: such as ``encoder.represent`` or
        `handcrafted_features`. Tensors become float32 arrays.

    Returns
    -------
    Features
        In the order of the stream.

    Raises
    ------
    PilarnetError
        A feature is not finite.
    """
    parts: list[tuple[NDArray[np.floating], NDArray[np.int64], NDArray[np.int64]]] = []
    for batch in batches:
        with torch.no_grad():
            values = features(batch)
        if isinstance(values, Tensor):
            values = values.float().cpu().numpy()
        parts.append((values, batch.label.cpu().numpy(), batch.particle.cpu().numpy()))
    if not parts:
        raise ValueError("batches: expected at least one, found none")
    values, label, particle = (np.concatenate(pieces) for pieces in zip(*parts, strict=True))
    bad = particle[~np.isfinite(values).all(axis=1)].tolist()
    if bad:
        raise PilarnetError(
            f"features that are not finite, of {len(bad)} of {len(particle)} particles",
            found=f"particle {listed(map(str, bad))}",
            advice="check the shards with pilarnet-stats --verify, or use another checkpoint",
        )
    return Features(values=values, label=label, particle=particle)
