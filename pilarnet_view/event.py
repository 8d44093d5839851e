"""A scene of events of a file."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, Final

import numpy as np

from pilarnet_convert.errors import InputError, counted
from pilarnet_convert.options import OptionError
from pilarnet_convert.readers import index_source
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.kinds import Reading
from pilarnet_convert.readers.sources import find_sources
from pilarnet_convert.shards.reader import common_voxel_cm
from pilarnet_convert.species import label_of_pdg
from pilarnet_convert.storage.remote import AnyPath, as_any_path
from pilarnet_view.colours import NO_PARTICLE, number_by_size, species_name
from pilarnet_view.relations import event_panel
from pilarnet_view.scene import Panel, ParticleCloud, Scene, in_voxels

__all__ = ["event_scene"]

#: Events of a page, so that it opens in any browser.
_MOST_EVENTS: Final = 1000


def event_scene(file: str | AnyPath, *, entry: int | range = 0) -> Scene:
    """Read events of a file, with all their particles.

    Parameters
    ----------
    file : str, Path or RemotePath
        A LArCV2, LArCV3 or PILArNet-M file; of a LArCV2 source that is split into three files, any
        of them.
    entry : int or range
        The index of the event in the file, from 0, or a range of consecutive ones, which may end
        beyond the last event.

    Returns
    -------
    Scene
        With a panel for each event.

    Raises
    ------
    InputError
        If the file cannot be read, or no event left a voxel.
    OptionError
        If there is no such entry, or the range has more than 1,000 events.
    """
    path = as_any_path(file)
    index = index_source(find_sources([path])[0], reading=Reading())[0]
    entries = entry if isinstance(entry, range) else range(entry, entry + 1)
    stop = min(entries.stop, index.num_entries)
    if not 0 <= entries.start < stop:
        raise OptionError(
            "no such entry",
            file=path,
            field="--entry",
            expected=f"0 to {index.num_entries - 1}",
            found=entries.start,
        )
    if stop - entries.start > _MOST_EVENTS:
        raise OptionError(
            "too many events for a page",
            field="--entry",
            expected=f"at most {_MOST_EVENTS:,}",
            found=f"{stop - entries.start:,}",
        )
    with index.open() as reader:
        events = reader.read(entries.start, stop).in_mev(index.units)
    check_events(events)
    panels = tuple(_panel(events, number) for number in range(events.num_events))
    if not any(panel.clouds for panel in panels):
        raise InputError("the event left no voxels", file=path, entry=entries.start)
    title = path.name
    subtitle = f"entries {entries.start} to {stop - 1} of {index.num_entries:,}"
    if len(panels) == 1:  # its texts become those of the scene
        title = f"{title}, entry {entries.start}"
        subtitle = f"{panels[0].title.partition(': ')[2]}: {panels[0].caption}"
        panels = (replace(panels[0], title="", caption=""),)
    return Scene(
        title=title,
        subtitle=subtitle,
        panels=panels,
        columns=1,
        colouring="class",
        voxel_cm=common_voxel_cm(events.voxel_size),
    )


def _panel(events: Events, number: int) -> Panel:
    """Make a panel of an event; `number` counts from the first that was read."""
    clouds = _clouds(events, number)
    particles = slice(events.particle_offset[number], events.particle_offset[number + 1])
    tracks = (events.track_id[particles], events.parent_track_id[particles])
    run, subrun, event = (int(v[number]) for v in (events.run, events.subrun, events.event))
    num_voxels = sum(cloud.num_voxels for cloud in clouds)
    deposit_mev = sum(cloud.deposit_mev for cloud in clouds)
    clusters = counted(len(clouds), "cluster")
    voxels = counted(num_voxels, "voxel")
    return event_panel(
        clouds,
        parents=dict(zip(*(t.tolist() for t in tracks), strict=True)),
        grid=events.grid[number],
        origin_cm=events.origin[number],
        title=f"entry {events.first_entry + number}: run {run}, subrun {subrun}, event {event}",
        caption=f"{clusters}, {voxels}, {deposit_mev:,.0f} MeV deposited",
    )


def _clouds(events: Events, number: int) -> tuple[ParticleCloud, ...]:
    """Make a cloud of every cluster of an event that has voxels."""
    clusters = range(events.cluster_offset[number], events.cluster_offset[number + 1])
    offset = events.voxel_offset[clusters.start : clusters.stop + 1]
    size = np.diff(offset)
    z, y, x = np.unravel_index(events.voxel_id[offset[0] : offset[-1]], events.grid[number, ::-1])
    xyz = np.stack([x, y, z], axis=1)
    energy = events.energy[offset[0] : offset[-1]]
    number_of = number_by_size(size)
    clouds = []
    for cluster in np.flatnonzero(size):
        rows = slice(*(offset[cluster : cluster + 2] - offset[0]))
        clouds.append(
            ParticleCloud.of(
                xyz[rows],
                energy[rows],
                name=f"cluster {cluster}",
                number=number_of[cluster],
                **_known(events, number, int(cluster)),
            )
        )
    return tuple(clouds)


def _known(events: Events, number: int, cluster: int) -> dict[str, Any]:
    """Describe the particle of a cluster; the last cluster may have none."""
    row = int(events.particle_offset[number]) + cluster
    if row >= events.particle_offset[number + 1]:
        return {"species": NO_PARTICLE}
    cube = {"origin_cm": events.origin[number], "voxel_cm": events.voxel_size[number]}
    return {
        "species": species_name(int(label_of_pdg(events.pdg[row : row + 1])[0])),
        "pdg": int(events.pdg[row]),
        "process": events.process_names[events.process[row]],
        "energy_init_mev": float(events.energy_init[row]),
        "track_id": int(events.track_id[row]),
        "parent_track_id": int(events.parent_track_id[row]),
        "start": in_voxels(events.start[row], **cube),
        "end": in_voxels(events.end[row], **cube),
    }
