"""Sites of a sparse tensor as integer keys.

A site (particle, x, y, z) is packed into one int64: 15 bits for the particle, 16 for each
coordinate, which is shifted to be positive. Keys in ascending order are sites in lexicographic
order. So a binary search finds a neighbour, and the sites of a plane (particle, x), or of a range
of y in it, are consecutive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:  # the processes that read shards, and --help, need no torch
    from torch import Tensor

__all__ = [
    "AXIS_BITS",
    "AXIS_MASK",
    "MAX_COORDINATE",
    "MAX_KERNEL",
    "MAX_PARTICLES",
    "coarsen",
    "pack",
    "particle_of",
    "sort_keys",
    "unpack",
]

AXIS_BITS: Final = 16
AXIS_MASK: Final = (1 << AXIS_BITS) - 1
#: What is added to a coordinate to make it positive.
_HALF: Final = 1 << (AXIS_BITS - 1)
#: A kernel reaches K // 2 sites beyond a coordinate, and must stay inside the 16 bits.
MAX_KERNEL: Final = 31
#: Coordinates lie in [-MAX_COORDINATE, MAX_COORDINATE).
MAX_COORDINATE: Final = _HALF - MAX_KERNEL
MAX_PARTICLES: Final = 1 << (63 - 3 * AXIS_BITS)


def pack(particle: Tensor, xyz: Iterable[Tensor]) -> Tensor:
    """Pack particles, int64 [M], and three coordinates, integers [M] each, into keys, int64 [M]."""
    keys = particle
    for axis in xyz:
        keys = axis.add(keys, alpha=1 << AXIS_BITS)
    return keys + sum(_HALF << axis * AXIS_BITS for axis in range(3))


def unpack(keys: Tensor) -> list[Tensor]:
    """Unpack keys, int64 [M], into particle, x, y and z, int64 [M] each."""
    axes = (keys >> 2 * AXIS_BITS, keys >> AXIS_BITS, keys.clone())
    return [particle_of(keys), *(axis.bitwise_and_(AXIS_MASK).sub_(_HALF) for axis in axes)]


def particle_of(keys: Tensor) -> Tensor:
    """Return the particle of each site, int64 [M]."""
    return keys >> (3 * AXIS_BITS)


def coarsen(keys: Tensor, halvings: int) -> Tensor:
    """Move sites, keys int64 [M], to the lowest corners of their cubes of 2**halvings an edge."""
    low = (1 << halvings) - 1
    return keys & ~(low << 2 * AXIS_BITS | low << AXIS_BITS | low)


def sort_keys(keys: Tensor, *, num_particles: int) -> tuple[Tensor, Tensor]:
    """Sort keys of particles 0 .. `num_particles` - 1, int64 [M]; equal ones keep their order.

    Returns
    -------
    keys, order : Tensor, int64 [M]
        The keys in ascending order, and the position that each had before.
    """
    # torch sorts byte by byte, which takes a fifth longer if each byte belongs to one coordinate.
    # So the keys are shifted by half a byte, if the particles leave room for it.
    shift = min(4, max(0, 63 - 3 * AXIS_BITS - num_particles.bit_length()))
    ascending, order = (keys << shift).sort(stable=True)
    return ascending >> shift, order
