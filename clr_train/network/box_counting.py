"""Box counting: the size of a particle at several scales.

Legend: N particles, S scales.

Count the cubes of a grid that a particle touches, for several edges of the cubes. With a longer
edge the count falls as 1 / edge for a straight track, and faster for a shower. So the counts tell
a line from a plane and a volume, and give the length of each, whatever its direction.

A detector that adds a few voxels of little energy, by noise or by diffusion of charge beside
a track, changes these counts, and the maximum and mean over sites. Where each site and cube counts
by its visibility, a smooth step in the energy that it holds, the change is small.
"""

from __future__ import annotations

import functools
from typing import Final

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.ragged import sum_groups
from clr_train.site_keys import coarsen, particle_of

__all__ = [
    "BOX_EDGES",
    "POOLING_HALF",
    "constants",
    "log_sizes",
    "soft_sizes",
    "visibility",
]

#: Edges of the cubes, voxels: 1, 2, 4 and so on to 64.
BOX_EDGES: Final = tuple(2**halvings for halvings in range(7))
#: Length of the straight track whose sizes read 0, voxels.
_TYPICAL_LENGTH: Final = 50
#: Energy of a site that counts half, in the pooling and in the sizes. A minimum-ionising voxel has
#: 1 after the transform ``log``, and a site of the last stage holds several.
POOLING_HALF: Final = 2.0
_BOX_HALF: Final = 1.0
#: Length of the straight track whose sizes read about 0, voxels, and what is added to each size.
_SOFT_LENGTH: Final = 25.0
_FLOOR: Final = 0.1


def log_sizes(sites: SiteBatch) -> Tensor:
    """Take the logarithm of `count_boxes` over the counts of a straight track of 50 voxels.

    The result is float32 [N, S]. An empty particle counts as one of a single voxel.
    """
    counts = count_boxes(sites).clamp(min=1).float()
    track = tuple(max(_TYPICAL_LENGTH / edge, 1.0) for edge in BOX_EDGES)
    return (counts / constants(track, like=counts)).log()


def constants(values: tuple[float, ...], *, like: Tensor) -> Tensor:
    """Make a tensor of numbers with the type and the device of another; it may not be changed.

    It is kept: to copy numbers to a GPU waits for the device.
    """
    return _constants(values, like.dtype, str(like.device))


@functools.cache
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)


def count_boxes(sites: SiteBatch) -> Tensor:
    """Count the cubes of each edge of `BOX_EDGES` that hold a voxel of each particle, int64 [N, S].

    The grids have a corner at the origin, so a count changes a little when a particle moves.
    """
    counts = []
    for halvings in range(len(BOX_EDGES)):
        # Sorted and compared: torch.unique would wait for a GPU.
        boxes = coarsen(sites.keys, halvings).sort().values if halvings else sites.keys
        is_new = torch.ones_like(boxes)
        is_new[1:] = boxes.diff() != 0
        count = is_new.new_zeros(sites.num_particles)
        counts.append(count.index_add_(0, particle_of(boxes), is_new))
    return torch.stack(counts, dim=1)


def visibility(energy: Tensor, *, half: float) -> Tensor:
    """Compute e^2 / (e^2 + half^2): 0 without energy, 1/2 at `half`, and towards 1."""
    square = energy.square()
    return square / (square + half * half)


def soft_sizes(sites: SiteBatch) -> Tensor:
    """Take the logarithms of the visible boxes of each edge, float32 [N, S].

    Parameters
    ----------
    sites : SiteBatch
        N particles; the first feature is the transformed energy. Less than 0 counts as 0.

    A column is 0 for about a straight track of 25 voxels.
    """
    energy = sites.features[:, 0].clamp(min=0.0)
    columns = []
    for halvings, edge in enumerate(BOX_EDGES):
        boxes, order = coarsen(sites.keys, halvings).sort(stable=True)
        is_new = torch.ones_like(boxes, dtype=torch.bool)
        is_new[1:] = boxes.diff() != 0
        number = is_new.cumsum(0) - 1
        # One row a site, though there are fewer boxes: their number is not known without waiting.
        held = sum_groups(energy[order], number, num_groups=len(energy), is_sorted=True)
        owner = torch.full_like(boxes, sites.num_particles - 1)
        owner.index_copy_(0, number, particle_of(boxes))
        seen = visibility(held, half=_BOX_HALF)
        count = sum_groups(seen, owner, num_groups=sites.num_particles, is_sorted=True)
        columns.append((count + _FLOOR) / max(_SOFT_LENGTH / edge, 1.0))
    return torch.stack(columns, dim=1).log()
