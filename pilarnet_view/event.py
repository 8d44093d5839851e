"""A scene of one event of a LArCV file."""

from __future__ import annotations

from typing import Any

import numpy as np

from pilarnet_convert.errors import InputError
from pilarnet_convert.options import OptionError
from pilarnet_convert.readers import Reading, index_source
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.sources import find_sources
from pilarnet_convert.readers.units import in_mev
from pilarnet_convert.species import label_of_pdg
from pilarnet_convert.storage.remote import AnyPath, place
from pilarnet_view.colours import NO_PARTICLE, species_name
from pilarnet_view.scene import Panel, ParticleCloud, Pick, Scene

__all__ = ["event_scene"]


def event_scene(file: str | AnyPath, *, entry: int = 0) -> Scene:
    """Read an event, given by its index in the file from 0, with all its particles.

    `file` is a LArCV2, LArCV3 or PILArNet-M file, or one of the archive's three files of a source.

    Raises
    ------
    InputError
        If the file cannot be read, there is no such entry, or the event left no voxels.
    """
    path = place(file)
    index = index_source(find_sources([path])[0], reading=Reading())[0]
    if not 0 <= entry < index.num_entries:
        raise OptionError(
            "no such entry",
            file=path,
            field="--entry",
            expected=f"0 to {index.num_entries - 1}",
            found=entry,
        )
    with index.open() as reader:
        columns = in_mev(reader.read(entry, entry + 1), index.units)
    check_events(columns)
    clouds = _clouds(columns)
    if not clouds:
        raise InputError("the event left no voxels", file=path, entry=entry)
    num_voxels = sum(cloud.num_voxels for cloud in clouds)
    deposit_mev = sum(cloud.deposit_mev for cloud in clouds)
    clusters = "1 cluster" if len(clouds) == 1 else f"{len(clouds)} clusters"
    size = f"{clusters}, {num_voxels:,} voxels, {deposit_mev:,.0f} MeV deposited"
    run, subrun, event = (int(v[0]) for v in (columns.run, columns.subrun, columns.event))
    cell = columns.voxel_size[0].tolist()
    return Scene(
        title=f"{path.name}, entry {entry}",
        subtitle=f"run {run}, subrun {subrun}, event {event}: {size}",
        panels=(Panel.around(clouds, origin_cm=columns.origin[0]),),
        picks=tuple(
            Pick(name=cloud.summary, panels=(0,), cloud=number)
            for number, cloud in enumerate(clouds)
        ),
        columns=1,
        colouring="class",
        voxel_cm=(cell[0], cell[1], cell[2]),
    )


def _clouds(columns: Events) -> tuple[ParticleCloud, ...]:
    """Make a cloud of every cluster of the one event that has voxels."""
    size = np.diff(columns.voxel_offset)
    z, y, x = np.unravel_index(columns.voxel_id, columns.grid[0, ::-1])
    xyz = np.stack([x, y, z], axis=1)
    # The largest get the colours that are furthest apart.
    rank = np.argsort(np.argsort(-size, kind="stable"))
    label = label_of_pdg(columns.pdg)
    clouds = []
    for cluster in np.flatnonzero(size):
        rows = slice(columns.voxel_offset[cluster], columns.voxel_offset[cluster + 1])
        known: dict[str, Any] = {"species": NO_PARTICLE}
        if cluster < len(columns.pdg):
            known = {
                "species": species_name(label[cluster]),
                "pdg": int(columns.pdg[cluster]),
                "process": columns.process_names[columns.process[cluster]],
                "energy_init_mev": float(columns.energy_init[cluster]),
            }
        clouds.append(
            ParticleCloud.of(
                xyz[rows],
                columns.energy[rows],
                name=f"cluster {cluster}",
                number=int(rank[cluster]),
                **known,
            )
        )
    return tuple(clouds)
