"""How large a particle is at each scale: the cubes of a grid that it touches (box counting).

Legend: N particles, S scales.

Along a straight track their number falls with their edge, over a shower faster: the numbers tell a
line from a plane and a volume, and how long each is, whichever way it points.
"""

from __future__ import annotations

from typing import Final

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.site_keys import coarsen, particle_of

__all__ = ["BOX_EDGES", "count_boxes", "log_sizes"]

#: Edges of the cubes, voxels: 1, 2, 4 and so on to 64.
BOX_EDGES: Final = tuple(2**halvings for halvings in range(7))
#: Length of the straight track whose sizes read 0, voxels.
_TYPICAL_LENGTH: Final = 50


def log_sizes(sites: SiteBatch) -> Tensor:
    """Take the logarithms of `count_boxes` over those of a straight track of 50 voxels.

    Parameters
    ----------
    sites : SiteBatch
        N particles.

    Returns
    -------
    Tensor, float32 [N, S]
        An empty particle counts as one of a single voxel.
    """
    counts = count_boxes(sites).clamp(min=1).float()
    track = [max(_TYPICAL_LENGTH / edge, 1.0) for edge in BOX_EDGES]
    return (counts / counts.new_tensor(track)).log()


def count_boxes(sites: SiteBatch) -> Tensor:
    """Count the cubes of each edge that hold a voxel, for every particle.

    The grids have a corner at the origin, so a count moves a little with the particle.

    Returns
    -------
    Tensor, int64 [N, S]
        A column an edge of `BOX_EDGES`; zeros for an empty particle.
    """
    counts = []
    for halvings in range(len(BOX_EDGES)):
        # Sorted and compared rather than made unique: on a GPU that would wait for the device.
        boxes = coarsen(sites.keys, halvings).sort().values if halvings else sites.keys
        is_new = torch.ones_like(boxes)
        is_new[1:] = boxes.diff() != 0
        count = is_new.new_zeros(sites.num_particles)
        counts.append(count.index_add_(0, particle_of(boxes), is_new))
    return torch.stack(counts, dim=1)
