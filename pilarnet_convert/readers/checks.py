"""Checks of events, the same for all readers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np

from pilarnet_convert.errors import FETCH_OR_SKIP, InputError
from pilarnet_convert.ragged import row_of
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.larcv_numbers import no_finite_energy
from pilarnet_convert.shards.format import MOST_PROCESSES

__all__ = ["check_events"]

#: Limits that no detector exceeds.
_LARGEST_EDGE_CM: Final = 1e4
_LARGEST_ENERGY_MEV: Final = 1e9


def check_events(events: Events) -> None:
    """Check that clusters, particles and voxels of the events make sense together.

    Parameters
    ----------
    events : Events
        What a reader delivered.

    Raises
    ------
    InputError
        Naming the first entry at fault.
    """
    _check_processes(events)
    _check_counts(events)
    _check_cubes(events)
    _check_voxels(events)
    _check_particle_energies(events)


def _check_processes(events: Events) -> None:
    if len(events.process_names) > MOST_PROCESSES:
        raise InputError(
            "too many creation processes for the shard format",
            file=events.file,
            entry=events.first_entry,
            field=events.products[1],
            expected=f"at most {MOST_PROCESSES} names",
            found=len(events.process_names),
            advice=FETCH_OR_SKIP,
        )


def _check_counts(events: Events) -> None:
    clusters = np.diff(events.cluster_offset)
    particles = np.diff(events.particle_offset)
    surplus = clusters - particles
    wrong = np.flatnonzero((surplus < 0) | (surplus > 1))
    if len(wrong):
        at = wrong[0]
        raise _fault(
            events,
            at,
            "clusters and particles do not match",
            field=", ".join(events.products),
            expected=f"{particles[at]} clusters, or one more",
            found=f"{clusters[at]}",
            advice="take both products from the same production",
        )


def _check_voxels(events: Events) -> None:
    valid = (events.energy >= 0) & (events.energy <= _LARGEST_ENERGY_MEV)
    if not valid.all():  # NaN is not valid either
        voxel = int(np.argmin(valid))
        finite = np.isfinite(events.energy[voxel])
        raise _fault(
            events,
            _event_of_voxel(events, voxel),
            f"a voxel has {'an impossible' if finite else 'no finite'} energy",
            field=events.products[0],
            expected=f"a number of MeV, at least 0 and at most {_LARGEST_ENERGY_MEV:g}",
            found=f"{events.energy[voxel]} in voxel {events.voxel_id[voxel]}",
            advice=FETCH_OR_SKIP,
        )
    num_cells = events.grid.prod(axis=1)
    voxels = events.voxel_offset[events.cluster_offset]
    all_same = len(np.unique(num_cells)) == 1  # one number is compared faster than an array
    limit: Any = num_cells[0] if all_same else np.repeat(num_cells, np.diff(voxels))
    outside = (events.voxel_id < 0) | (events.voxel_id >= limit)
    if outside.any():
        voxel = int(np.argmax(outside))
        at = _event_of_voxel(events, voxel)
        nx, ny, nz = events.grid[at]
        raise _fault(
            events,
            at,
            "a voxel lies outside its cube",
            field=events.products[0],
            expected=f"an id below {nx} x {ny} x {nz} = {num_cells[at]}",
            found=f"{events.voxel_id[voxel]}",
            advice=FETCH_OR_SKIP,
        )


def _check_cubes(events: Events) -> None:
    """Check the numbers of voxels along each side, the edges of a voxel and the corner."""
    largest = np.iinfo(np.uint16).max
    edge = events.voxel_size
    for wrong, values, problem, expected in (
        (
            events.grid > largest,
            events.grid,
            "too large for the shard format",
            f"at most {largest}",
        ),
        (events.grid < 1, events.grid, "it has no voxels", "at least 1"),
        (
            ~((edge > 0) & (edge <= _LARGEST_EDGE_CM)),
            edge,
            "the voxel size is unusable",
            f"above 0 and at most {_LARGEST_EDGE_CM:g} cm",
        ),
        (
            ~np.isfinite(events.origin),
            events.origin,
            "its corner is not finite",
            "a number of cm",
        ),
    ):
        if wrong.any():
            at, axis = np.argwhere(wrong)[0]
            raise _fault(
                events,
                int(at),
                f"the cube of the event: {problem}",
                field=events.products[0],
                expected=f"{expected} along {'xyz'[axis]}",
                found=f"{values[at, axis]}",
                advice=FETCH_OR_SKIP,
            )


def _check_particle_energies(events: Events) -> None:
    for name in ("energy_init", "energy_deposit"):
        values = getattr(events, name)
        wrong = np.flatnonzero(np.isinf(values))  # NaN means unknown
        if not len(wrong):
            continue
        event = row_of(events.particle_offset, int(wrong[0]))
        raise no_finite_energy(
            values[wrong[0]],
            int(wrong[0] - events.particle_offset[event]),
            file=events.file,
            entry=events.first_entry + event,
            field=f"{events.products[1]}, {name}",
        )


def _event_of_voxel(events: Events, voxel: int) -> int:
    return row_of(events.cluster_offset, row_of(events.voxel_offset, voxel))


def _fault(events: Events, event: int, problem: str, **details: Any) -> InputError:
    return InputError(problem, file=events.file, entry=events.first_entry + int(event), **details)
