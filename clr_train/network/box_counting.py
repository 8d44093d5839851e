"""Box counting: the size of a particle at several scales.

Legend: N particles, S scales.

Count the cubes of a grid that a particle touches, for several edges of the cubes. With a longer
edge the count falls as 1 / edge for a straight track, and faster for a shower. So the counts tell
a line from a plane and a volume, and give the length of each, whatever its direction.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.site_keys import coarsen, particle_of

__all__ = ["BOX_EDGES", "log_sizes"]

#: Edges of the cubes, voxels: 1, 2, 4 and so on to 64.
BOX_EDGES: Final = tuple(2**halvings for halvings in range(7))
#: Length of the straight track whose sizes read 0, voxels.
_TYPICAL_LENGTH: Final = 50


def log_sizes(sites: SiteBatch) -> Tensor:
    """Take the logarithm of `count_boxes` over the counts of a straight track of 50 voxels.

    The result is float32 [N, S]. An empty particle counts as one of a single voxel.
    """
    counts = count_boxes(sites).clamp(min=1).float()
    track = [max(_TYPICAL_LENGTH / edge, 1.0) for edge in BOX_EDGES]
    return (counts / counts.new_tensor(track)).log()


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
