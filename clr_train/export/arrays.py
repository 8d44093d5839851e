"""Features of a user's own arrays."""

from __future__ import annotations

from operator import index
from typing import Any, Final, Protocol

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray
from torch import Tensor

from clr_train.batch import ParticleBatch
from clr_train.site_keys import MAX_COORDINATE
from pilarnet_convert.errors import PilarnetError

__all__ = ["embed"]

#: Most energy of a voxel, MeV: far above any, and its square is finite in float32.
_MOST_MEV: Final = 1e12


class _Encoder(Protocol):
    def represent(self, batch: ParticleBatch) -> Tensor: ...


def embed(
    encoder: _Encoder,
    xyz: ArrayLike | Tensor,
    energy: ArrayLike | Tensor,
    offset: ArrayLike | Tensor,
    *,
    batch_size: int = 256,
) -> Any:
    """Compute the features of particles that are given as arrays; no labels are needed.

    Parameters
    ----------
    encoder : Encoder or Learner
        As `load_encoder` or `load_learner` returns it.
    xyz : array [V, 3]
        The voxels of all particles, one particle after the other: whole numbers of any integer or
        floating type, of any sign. If a particle has a voxel twice, its energies are summed.
    energy : array [V]
        The energy deposited in each voxel, MeV, 0 to 1e12.
    offset : integer array [N + 1]
        Particle i owns the voxels offset[i] to offset[i + 1], end excluded; 0 is the first, V the
        last.
    batch_size : int
        Particles that are embedded at once. It sets memory and speed; features change only by
        rounding.

    Returns
    -------
    float32 array or Tensor [N, C]
        A tensor, on the device of `xyz`, if `xyz` is one; else a NumPy array.

    Raises
    ------
    PilarnetError
        If an array has another shape or kind of values, or a particle has no voxels.
    """
    if not callable(getattr(encoder, "represent", None)):
        kind = type(encoder).__name__
        raise _refused("encoder", "what load_encoder or load_learner returns", kind)
    if index(batch_size) < 1:
        raise _refused("batch_size", "1 or more", batch_size)
    points = _xyz(_to_numpy(xyz, "xyz"))
    energies = _energy(_to_numpy(energy, "energy"), num_voxels=len(points))
    offsets = _offset(_to_numpy(offset, "offset"), num_voxels=len(points))
    num_particles = len(offsets) - 1
    batch = ParticleBatch(
        xyz=torch.from_numpy(points),
        energy=torch.from_numpy(energies),
        offset=torch.from_numpy(offsets),
        label=torch.zeros(num_particles, dtype=torch.int64),
        particle=torch.arange(num_particles),
    )
    features = torch.cat([encoder.represent(part) for part in batch.split(index(batch_size))])
    return features.to(xyz.device) if isinstance(xyz, Tensor) else features.cpu().numpy()


def _to_numpy(values: ArrayLike | Tensor, field: str) -> NDArray[Any]:
    """Return values as a NumPy array of numbers."""
    if isinstance(values, Tensor):
        narrow = values.is_floating_point() and values.itemsize <= 2
        # NumPy has neither bfloat16 nor floats of eight bits; float32 holds all their values.
        array = (values.detach().float() if narrow else values.detach()).cpu().numpy()
    else:
        try:
            array = np.asarray(values)
        except ValueError as error:
            raise _refused(field, "rows of the same length", error) from error
    if array.dtype.kind not in "iuf":
        raise _refused(field, "integers or floating-point numbers", array.dtype)
    return array


def _xyz(values: NDArray[Any]) -> NDArray[np.int32]:
    if values.ndim != 2 or values.shape[1] != 3 or not len(values):
        raise _refused("xyz", "the shape [voxels, 3], one voxel or more", str(list(values.shape)))
    if values.dtype.kind == "f" and not np.array_equal(values, np.floor(values)):
        row = np.flatnonzero((values != np.floor(values)).any(axis=1))[0]
        raise _refused("xyz", "whole numbers, the indices of voxels", f"{values[row]} in row {row}")
    low, high = values.min(), values.max()
    if low < -MAX_COORDINATE or high >= MAX_COORDINATE:
        raise _refused(
            "xyz", f"indices from {-MAX_COORDINATE} to {MAX_COORDINATE - 1}", f"{low} to {high}"
        )
    return np.ascontiguousarray(values, np.int32)


def _energy(values: NDArray[Any], *, num_voxels: int) -> NDArray[np.float32]:
    if values.shape != (num_voxels,):
        raise _refused("energy", f"the shape [{num_voxels}], as of xyz", str(list(values.shape)))
    with np.errstate(over="ignore"):
        energy = np.ascontiguousarray(values, np.float32)
    bad = np.flatnonzero(~((energy >= 0) & (energy <= _MOST_MEV)))  # of NaN neither holds
    if len(bad):
        raise _refused(
            "energy",
            f"MeV, 0 or more, finite and at most {_MOST_MEV:g}",
            f"{values[bad[0]]} in row {bad[0]}",
        )
    return energy


def _offset(values: NDArray[Any], *, num_voxels: int) -> NDArray[np.int64]:
    if values.dtype.kind == "f" or values.ndim != 1 or len(values) < 2:
        raise _refused(
            "offset",
            "integers of the shape [particles + 1], one particle or more",
            f"{values.dtype} {list(values.shape)}",
        )
    offset = np.ascontiguousarray(values, np.int64)
    if offset[0] != 0 or offset[-1] != num_voxels:
        raise _refused("offset", f"0 first and {num_voxels} last", f"{offset[0]} and {offset[-1]}")
    empty = np.flatnonzero(np.diff(offset) <= 0)
    if len(empty):
        i = empty[0]
        raise _refused(
            "offset",
            "ascending values: every particle has a voxel",
            f"{offset[i]}, {offset[i + 1]} for particle {i}",
        )
    return offset


def _refused(field: str, expected: str, found: object) -> PilarnetError:
    return PilarnetError("cannot be embedded", field=field, expected=expected, found=found)
