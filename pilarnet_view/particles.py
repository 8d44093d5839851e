"""A scene of single particles from shards."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError, check_options, documented, option
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.particle import Particle
from pilarnet_convert.shards.reader import Places, Shards, open_shards
from pilarnet_convert.species import CLASS_NAMES
from pilarnet_view.colours import species_name
from pilarnet_view.scene import Panel, ParticleCloud, Pick, Scene

__all__ = [
    "Choice",
    "StoredParticle",
    "caption",
    "gallery",
    "particle_scene",
    "read_particles",
    "voxel_edges",
]


@documented
@dataclass(frozen=True, kw_only=True)
class Choice:
    """Which particles of the shards to show, and which views of them."""

    label: str | None = option(
        None, "Of shards: draw particles of this class only.", choices=CLASS_NAMES
    )
    count: int | None = option(
        None, "Of shards: how many particles to draw, by default 12, or 1 with views.", least=1
    )
    split: str = option("train", "Of shards: the split of the particles.", choices=SPLITS)
    seed: int = option(0, "Of shards: the seed of the draw and of the views.", least=0)
    indices: tuple[int, ...] = option(
        (), "Of shards: show the particles with these indices in the split instead of drawing."
    )

    num_views: int = option(2, "With --views: how many views of each particle.", least=1)
    epoch: int = option(
        0,
        "With --views: the epoch. With the seed and particle index of a training run, the views "
        "are those that the network saw.",
        least=0,
    )
    augmentations: tuple[str, ...] = option(
        (), "With --views: the augmentations to draw from, by default as in clr-train."
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
    """A particle of the shards: its index in the split, its label, its cloud and its origin."""

    index: int
    label: int
    cloud: ParticleCloud
    origin_cm: NDArray[np.float64]


def particle_scene(path: Places, *, choice: Choice | None = None) -> Scene:
    """Read some particles of shards, by default of the train split, each in a panel.

    Raises
    ------
    PilarnetError
        If the shards cannot be read, or there are no such particles.
    """
    shards = open_shards(path)
    choice = choice or Choice()
    particles = read_particles(shards, choice=choice, default_count=12)
    panels = [
        Panel.around(
            (particle.cloud,),
            origin_cm=particle.origin_cm,
            title=f"{particle.cloud.species}, {particle.cloud.size}",
            caption=caption(particle),
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
        subtitle=f"{len(particles)} of the split's {total:,} particles",
        panels=tuple(panels),
        picks=tuple(
            Pick(name=particle.cloud.summary, panels=tuple(range(first, first + each)))
            for first, particle in zip(range(0, len(panels), each), particles, strict=True)
        ),
        columns=each if each > 1 else min(4, len(panels)),
        colouring="energy",
        voxel_cm=voxel_edges(shards),
    )


def caption(particle: StoredParticle) -> str:
    """Name a particle, its PDG code and its creation process."""
    cloud = particle.cloud
    return f"{cloud.name}, PDG {cloud.pdg}, {cloud.process or 'process not known'}"


def voxel_edges(shards: Shards) -> tuple[float, float, float] | None:
    """Give the edges of a voxel in cm, None if the events differ in them."""
    sizes = np.array([geometry["voxel_size_cm"] for geometry in shards.attributes["geometry"]])
    if not len(sizes) or not np.allclose(sizes, sizes[0], rtol=1e-6):
        return None
    return float(sizes[0, 0]), float(sizes[0, 1]), float(sizes[0, 2])


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
    indices = choice.indices or _draw(shards, choice, choice.count or default_count)
    for index in indices:
        if not 0 <= index < total:
            raise OptionError(
                "no such particle",
                file=shards,
                field="--index",
                expected=f"0 to {total - 1} in the {choice.split} split",
                found=index,
            )
    particles = shards[choice.split]
    return [_stored(particles[i], number=number) for number, i in enumerate(indices)]


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


def _stored(particle: Particle, *, number: int) -> StoredParticle:
    run, subrun, event, cluster = (particle[n] for n in ("run", "subrun", "event", "cluster"))
    cloud = ParticleCloud.of(
        particle.xyz,
        particle.energy,
        name=f"{particle.split} {particle.index}",
        species=species_name(particle.label),
        number=number,
        pdg=int(particle["pdg"]),
        process=particle["process"],
        energy_init_mev=float(particle["energy_init"]),
        event=f"run {run}, subrun {subrun}, event {event}, cluster {cluster}",
    )
    return StoredParticle(
        index=particle.index,
        label=particle.label,
        cloud=cloud,
        origin_cm=particle["origin"].astype(np.float64),
    )
