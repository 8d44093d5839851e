"""The numbers that LArCV stores for unknown values, as its ``DataFormatTypes.h`` defines them.

In an event in which nothing was stored, the cube has no voxels along any axis.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import FETCH_OR_SKIP, InputError
from pilarnet_convert.ragged import row_of

__all__ = ["known_cubes", "known_reals", "known_tracks", "no_finite_energy", "refuse_nan"]

#: ``kINVALID_UINT`` and ``kINVALID_INT``; ``kINVALID_ULONG`` is -1 as int64.
_NO_TRACK: Final = (2**32 - 1, 2**31 - 1)


def known_tracks(values: NDArray[np.integer]) -> NDArray[np.int64]:
    """Return track numbers as int64; ``kINVALID_UINT`` and its like become -1."""
    tracks = values.astype(np.int64)
    tracks[np.isin(tracks, _NO_TRACK)] = -1
    return tracks


def known_reals(values: NDArray[np.floating]) -> NDArray[np.float32]:
    """Return numbers as float32; ``kINVALID_FLOAT`` and ``kINVALID_DOUBLE`` become NaN."""
    unset = np.isfinite(values) & (np.abs(values) >= np.finfo(np.float32).max)
    return np.where(unset, np.nan, values).astype(np.float32)


def known_cubes(
    grid: NDArray[np.int64],
    origin: NDArray[np.float64],
    voxel_size: NDArray[np.float64],
    *,
    num_voxels: NDArray[np.int64],
) -> tuple[NDArray[np.int64], NDArray[np.float64], NDArray[np.float64]]:
    """Give events without voxels whose cube was never set the cube of an event nearby.

    Parameters
    ----------
    grid, origin, voxel_size : arrays [E, 3]
        The cubes, as `Events` has them.
    num_voxels : int64 array [E]
        The voxels of each event.

    Returns
    -------
    grid, origin, voxel_size : arrays [E, 3]
        The cubes. If none was set, they are one voxel of 1 cm.
    """
    is_set = grid.any(axis=1) | (num_voxels > 0)
    if not is_set.any():
        grid, origin, voxel_size = np.ones_like(grid), np.zeros_like(origin), np.ones_like(origin)
        is_set[:] = True
    nearby = np.flatnonzero(is_set)[np.maximum(np.cumsum(is_set) - 1, 0)]
    return grid[nearby], origin[nearby], voxel_size[nearby]


def refuse_nan(
    values: NDArray[np.floating],
    offset: NDArray[np.int64],
    *,
    file: str,
    first_entry: int,
    field: str,
) -> None:
    """Refuse energies that are NaN; LArCV stores other numbers for unknown ones.

    Parameters
    ----------
    values : float array [P]
        The energies as they are in the file.
    offset : int64 array [E + 1]
        Event i owns particles ``offset[i]`` to ``offset[i + 1]``, end excluded.
    file, first_entry, field
        Where they are, for the message.
    """
    wrong = np.flatnonzero(np.isnan(values))
    if len(wrong):
        event = row_of(offset, int(wrong[0]))
        raise no_finite_energy(
            values[wrong[0]],
            int(wrong[0] - offset[event]),
            file=file,
            entry=first_entry + event,
            field=field,
        )


def no_finite_energy(value: Any, index: int, **place: Any) -> InputError:
    """Describe a particle whose energy is not finite."""
    return InputError(
        "a particle has no finite energy",
        expected="a number of MeV",
        found=f"{value} at index {index}",
        advice=FETCH_OR_SKIP,
        **place,
    )
