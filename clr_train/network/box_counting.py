"""Box counting: the size of a particle at several scales.

Legend: M sites, N particles, S scales.

Cover a particle with a grid of cubes and count the cubes that it touches, for several edges of the
cubes. With a longer edge the count falls as 1 / edge for a straight track, and faster for a shower.
So the counts tell a line from a plane and a volume, and give the length of each, whatever its
direction.

A few voxels of low energy, from noise or from charge that diffuses beside a track, change these
counts. The soft counts change little: each cube counts by its visibility, a smooth step in the
energy that it holds.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.network.constants import constants
from clr_train.ragged import starts_run, sum_groups
from clr_train.site_keys import coarsen, pack, particle_of, sort_keys

if TYPE_CHECKING:
    from clr_train.sparse import SparseTensor

__all__ = ["BOX_EDGES", "log_sizes", "soft_sizes", "visibility"]

#: Edges of the cubes, voxels: 1, 2, 4 and so on to 64. The grids have a corner at the origin, so a
#: count changes a little when a particle moves.
BOX_EDGES: Final = tuple(2**halvings for halvings in range(7))
#: Length of the straight track whose sizes are 0, voxels.
_TYPICAL_LENGTH: Final = 50
#: The same for soft sizes, approximately, and what is added to each soft count.
_SOFT_LENGTH: Final = 25.0
_FLOOR: Final = 0.1
#: Energy of a cube that counts as half. A minimum-ionising voxel has 1 after the transform ``log``.
_BOX_HALF: Final = 1.0


def log_sizes(levels: Sequence[SparseTensor]) -> Tensor:
    """Count the cubes of each edge that a particle touches, and take logarithms, float32 [N, S].

    Counts are relative to those of a straight track of 50 voxels. A particle without sites has the
    counts of a single voxel.

    Parameters
    ----------
    levels : sequence of SparseTensor
        The sites of N particles, first at stride 1, then at coarser strides if these are known:
        the sites of a stride are the cubes of that edge.
    """
    counts = []
    for edge in BOX_EDGES:
        # The coarsest sites from which these cubes can be made are the fewest to sort.
        level = max((x for x in levels if edge % x.stride == 0), key=lambda x: x.stride)
        counts.append(_count(level, halvings=(edge // level.stride).bit_length() - 1))
    track = tuple(max(_TYPICAL_LENGTH / edge, 1.0) for edge in BOX_EDGES)
    touched = torch.stack(counts, dim=1).clamp(min=1).float()
    return (touched / constants(track, like=touched)).log()


def _count(level: SparseTensor, *, halvings: int) -> Tensor:
    """Count the cubes of 2**halvings sites an edge that each particle touches, int64 [N]."""
    if not halvings:
        return level.index.count
    particle, *xyz = level.coords.to(level.features.device, torch.int64).unbind(1)
    num_particles = level.index.num_particles
    boxes, _ = sort_keys(coarsen(pack(particle, xyz), halvings), num_particles=num_particles)
    count = boxes.new_zeros(num_particles)
    return count.index_add_(0, particle_of(boxes), starts_run(boxes).long())


def soft_sizes(sites: SiteBatch) -> Tensor:
    """Sum the visibility of the cubes of each edge, and take logarithms, float32 [N, S].

    Sums are relative to those of a straight track of about 25 voxels.

    Parameters
    ----------
    sites : SiteBatch
        N particles; the first feature is the transformed energy. Less than 0 counts as 0.
    """
    energy = sites.features[:, 0].clamp(min=0.0)
    columns = []
    for edge, (boxes, order) in zip(BOX_EDGES, _boxes(sites), strict=True):
        number = starts_run(boxes).cumsum(0) - 1
        # Room for as many boxes as sites: this avoids a synchronisation with the GPU.
        held = sum_groups(energy[order], number, num_groups=len(energy), is_sorted=True)
        owner = torch.full_like(boxes, sites.num_particles - 1)
        owner.index_copy_(0, number, particle_of(boxes))
        seen = visibility(held, half=_BOX_HALF)
        count = sum_groups(seen, owner, num_groups=sites.num_particles, is_sorted=True)
        columns.append((count + _FLOOR) / max(_SOFT_LENGTH / edge, 1.0))
    return torch.stack(columns, dim=1).log()


def visibility(energy: Tensor, *, half: float) -> Tensor:
    """Compute e^2 / (e^2 + half^2): 0 without energy, 1/2 at `half`, then rising to 1."""
    square = energy.square()
    return square / (square + half * half)


def _boxes(sites: SiteBatch) -> Iterator[tuple[Tensor, Tensor]]:
    """Yield, for each edge, the cubes of the sites, ascending, and the sites by cube, int64 [M].

    All sites are sorted each time, so that energies are summed in the order of the sites.
    """
    yield sites.keys, torch.arange(sites.num_sites, device=sites.device)
    for halvings in range(1, len(BOX_EDGES)):
        # Not torch.unique: this avoids a synchronisation with the GPU.
        yield sort_keys(coarsen(sites.keys, halvings), num_particles=sites.num_particles)
