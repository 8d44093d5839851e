"""A scene of single particles from shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import PilarnetError, counted
from pilarnet_convert.options import OptionError, check_options, documented, option
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.particle import Particle
from pilarnet_convert.shards.reader import ShardPaths, Shards, open_shards
from pilarnet_convert.species import CLASS_NAMES
from pilarnet_view.colours import number_by_size, species_name
from pilarnet_view.relations import event_panel
from pilarnet_view.scene import Panel, ParticleCloud, Scene, in_voxels

__all__ = [
    "Choice",
    "StoredParticle",
    "gallery",
    "particle_scene",
    "read_particles",
]


@documented
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which particles of shards to show, and which views of them.

    An `OptionError` is raised for a value outside its limits.
    """

    label: str | None = option(
        None,
        "Of shards: draw particles of this class only; of all classes unless given.",
        choices=CLASS_NAMES,
    )
    count: int | None = option(
        None, "Of shards: how many particles to draw, by default 12, or 1 with views.", least=1
    )
    split: str = option("train", "Of shards: the split of the particles.", choices=SPLITS)
    seed: int = option(0, "Of shards: the seed of the draw and of the views.", least=0)
    index: tuple[int, ...] = option(
        (),
        "Of shards: show the particle of this index in the split instead of drawing; may be "
        "repeated.",
        metavar="INTEGER",
        repeated=True,
    )
    num_views: int = option(2, "With --views: how many views of each particle.", least=1, most=100)
    epoch: int = option(
        0,
        "With --views: the epoch. With the seed and particle index of a training run, the views "
        "are those that the network saw.",
        least=0,
    )
    augmentations: tuple[str, ...] = option(
        (),
        "With --views: the augmentations to draw from, by default as in clr-train; its help names "
        "them.",
    )
    num_augmentations: int | None = option(
        None,
        "With --views: how many augmentations each view draws, by default as in clr-train.",
        least=0,
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class StoredParticle:
    """A particle of the shards: its index in the split, its label, its cloud and its event."""

    index: int
    label: int
    cloud: ParticleCloud
    event: Panel

    @property
    def caption(self) -> str:
        """Its name, its PDG code and its creation process."""
        cloud = self.cloud
        return f"{cloud.name}, PDG {cloud.pdg}, {cloud.process or 'process not known'}"

    def panel(
        self,
        cloud: ParticleCloud,
        *,
        framed: Sequence[ParticleCloud] = (),
        title: str,
        caption: str,
    ) -> Panel:
        """Make a panel of its cloud or of a view of it; its frame has room for all of `framed`."""
        return Panel.around(
            (cloud,),
            framed=framed,
            grid=self.event.grid,
            origin_cm=self.event.origin_cm,
            title=title,
            caption=caption,
            event=self.event,
        )


def particle_scene(path: ShardPaths, *, choice: Choice | None = None) -> Scene:
    """Read particles of shards, with the events that they are from, as far as shards hold these.

    Parameters
    ----------
    path : str, Path or RemotePath, or a sequence of them
        The shards.
    choice : Choice, optional
        Which particles; by default twelve of the train split, drawn at random.

    Returns
    -------
    Scene
        With a panel for each particle.

    Raises
    ------
    PilarnetError
        If the shards cannot be read, or there are no such particles.
    """
    shards = open_shards(path)
    choice = choice or Choice()
    particles = read_particles(shards, choice=choice, default_count=12)
    panels = [
        particle.panel(
            particle.cloud,
            title=f"{particle.cloud.species}, {particle.cloud.size}",
            caption=particle.caption,
        )
        for particle in particles
    ]
    return gallery(shards, choice=choice, particles=particles, panels=panels)


def gallery(
    shards: Shards, *, choice: Choice, particles: Sequence[StoredParticle], panels: Sequence[Panel]
) -> Scene:
    """Make a scene of particles, each with the same number of consecutive panels."""
    each = len(panels) // len(particles)
    what = f"{choice.label}s" if choice.label else "particles"
    total = shards.num_particles(choice.split)
    return Scene(
        title=f"{shards.name}: {what} of the {choice.split} split",
        subtitle=f"{len(particles)} of the split's {counted(total, 'particle')}",
        panels=tuple(panels),
        columns=each if each > 1 else min(4, len(panels)),
        group=each,
        colouring="energy",
        voxel_cm=shards.voxel_cm,
    )


def read_particles(shards: Shards, *, choice: Choice, default_count: int) -> list[StoredParticle]:
    """Choose particles and read them; `PilarnetError` if there are no such particles."""
    total = shards.num_particles(choice.split)
    if not total:
        raise PilarnetError(
            "no particles in the split",
            file=shards,
            field=choice.split,
            advice="choose another split, or convert more events or with other --splits",
        )
    indices = choice.index or _draw(shards, choice, choice.count or default_count)
    for index in indices:
        if not 0 <= index < total:
            raise OptionError(
                "no such particle",
                file=shards,
                field="--index",
                expected=f"0 to {total - 1} in the {choice.split} split",
                found=index,
            )
    return [_stored(shards, choice.split, i, number) for number, i in enumerate(indices)]


def _draw(shards: Shards, choice: Choice, count: int) -> tuple[int, ...]:
    """Draw particles without replacement, in the order of the shards."""
    label = np.concatenate(
        [shard.read(("label",))["label"] for shard in shards.splits[choice.split]]
    )
    found = np.arange(len(label))
    if choice.label is not None:
        found = np.flatnonzero(label == CLASS_NAMES.index(choice.label))
    if not len(found):
        counts = {n: int(np.count_nonzero(label == i)) for i, n in enumerate(CLASS_NAMES)}
        raise PilarnetError(
            f"no {choice.label} in the {choice.split} split",
            file=shards,
            field="--label",
            found=", ".join(f"{name} {n}" for name, n in counts.items()),
            advice="choose another class or split",
        )
    rng = np.random.default_rng(choice.seed)
    drawn = rng.choice(found, size=min(count, len(found)), replace=False)
    return tuple(sorted(drawn.tolist()))


def _stored(shards: Shards, split: str, index: int, number: int) -> StoredParticle:
    """Read a particle and the event that it is from."""
    shard = next(s for s in shards.splits[split] if index < s.first + s.num_particles)
    row = index - shard.first
    # The particles of an event are neighbours in a shard.
    events = np.stack([shard.read((name,))[name] for name in ("source", "entry")])
    rows = np.flatnonzero((events == events[:, row, None]).all(axis=0))
    first = int(rows[0])
    particles, focus = shard[first : int(rows[-1]) + 1], row - first
    event = _event(particles, edges=shards.voxel_cm, grid=_largest_cube(shards), focus=focus)
    particle = particles[focus]
    cloud = replace(
        event.clouds[focus],
        name=f"{split} {index}",
        number=number,
        event=f"{event.title}, cluster {particle['cluster']}",
    )
    return StoredParticle(index=index, label=particle.label, cloud=cloud, event=event)


def _event(
    particles: Sequence[Particle],
    *,
    edges: tuple[float, float, float] | None,
    grid: NDArray[np.int64],
    focus: int,
) -> Panel:
    """Make a panel of the particles of an event."""
    numbers = number_by_size([len(particle) for particle in particles])
    clouds = [_cloud(p, edges=edges, number=n) for p, n in zip(particles, numbers, strict=True)]
    parents = {int(p["track_id"]): int(p["parent_track_id"]) for p in particles}
    run, subrun, event = (particles[0][name] for name in ("run", "subrun", "event"))
    what = counted(len(clouds), "particle")
    return event_panel(
        clouds,
        parents=parents,
        grid=grid,
        origin_cm=particles[0]["origin"].astype(np.float64),
        title=f"run {run}, subrun {subrun}, event {event}",
        caption=f"entry {particles[0]['entry']} of its file: {what} in the shards",
        focus=focus,
    )


def _cloud(
    particle: Particle, *, edges: tuple[float, float, float] | None, number: int
) -> ParticleCloud:
    steps = {}
    if edges is not None:
        cube = {"origin_cm": particle["origin"], "voxel_cm": np.array(edges)}
        steps = {name: in_voxels(particle[name], **cube) for name in ("start", "end")}
    return ParticleCloud.of(
        particle.xyz,
        particle.energy,
        name=f"cluster {particle['cluster']}",
        species=species_name(particle.label),
        number=number,
        pdg=int(particle["pdg"]),
        process=particle["process"],
        energy_init_mev=float(particle["energy_init"]),
        track_id=int(particle["track_id"]),
        parent_track_id=int(particle["parent_track_id"]),
        **steps,
    )


def _largest_cube(shards: Shards) -> NDArray[np.int64]:
    """Return the voxels of the cube along each axis; of several cubes, the most."""
    cubes = [geometry["voxels"] for geometry in shards.attributes["geometry"]]
    return np.asarray(np.max(cubes, axis=0), np.int64)
