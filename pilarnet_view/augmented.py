"""A scene of particles beside their augmented views, as training makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from pilarnet_convert.errors import MissingDependencyError, how_to_install
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.shards.reader import ShardPaths, open_shards
from pilarnet_view.particles import Choice, StoredParticle, gallery, read_particles
from pilarnet_view.scene import Panel, ParticleCloud, Scene

if TYPE_CHECKING:
    from clr_train.batch import ParticleBatch

__all__ = ["views_scene"]

#: A view: the augmentations that were drawn, and what they made of the particle.
_View = tuple[tuple[str, ...], ParticleCloud]


def views_scene(path: ShardPaths, *, choice: Choice | None = None) -> Scene:
    """Read particles of shards and make views of them: a row of panels each, in one frame.

    Parameters
    ----------
    path : str, Path or RemotePath, or a sequence of them
        The shards.
    choice : Choice, optional
        Which particles, and which views of them; by default two views of one particle of the train
        split.

    Returns
    -------
    Scene
        For each particle, in a row, a panel of its voxels as stored and a panel of each view.

    Raises
    ------
    MissingDependencyError
        If torch is not installed.
    PilarnetError
        As `pilarnet_view.particle_scene`, or if there is no such augmentation.
    """
    try:
        import torch  # noqa: F401

        from clr_train.views.config import AUGMENTATION_NAMES, ViewConfig
        from clr_train.views.make import drawn_augmentations, make_views
    except ImportError as error:
        raise MissingDependencyError(
            "views are made by torch, which is not installed",
            field="--views",
            advice=how_to_install("train"),
        ) from error

    choice = choice or Choice()
    given: dict[str, Any] = {}
    if choice.augmentations:
        given["augmentations"] = choice.augmentations
    if choice.num_augmentations is not None:
        given["num_augmentations"] = choice.num_augmentations
    config = ViewConfig(energy_transform="none", **given)
    shards = open_shards(path)
    particles = read_particles(shards, choice=choice, default_count=1)
    batch = _as_batch(particles)
    rows: list[list[_View]] = [[] for _ in particles]
    for view in range(choice.num_views):
        key: dict[str, Any] = {"seed": choice.seed, "epoch": choice.epoch, "view": view}
        made = make_views(batch, **key, config=config)
        names = drawn_augmentations(batch.particle, **key, config=config)
        for number, particle in enumerate(particles):
            mine = made.particle == number
            cloud = particle.cloud.with_voxels(
                made.xyz[mine].numpy(),
                made.features[mine, 0].numpy(),
                name=f"{particle.cloud.name}, view {view + 1}",
            )
            rows[number].append((names[number], cloud))
    panels = [panel for p, row in zip(particles, rows, strict=True) for panel in _row(p, row)]
    drawn = {name for row in rows for names, _ in row for name in names}
    scene = gallery(shards, choice=choice, particles=particles, panels=panels)
    plural = "" if len(particles) == 1 else "s"
    return replace(
        scene,
        title=f"{shards.name}: particle{plural} and views",
        subtitle=f"{scene.subtitle}; seed {choice.seed}, epoch {choice.epoch}",
        notes=tuple(f"{n}: {meaning}" for n, meaning in AUGMENTATION_NAMES.items() if n in drawn),
    )


def _as_batch(particles: Sequence[StoredParticle]) -> ParticleBatch:
    import torch

    from clr_train.batch import ParticleBatch

    return ParticleBatch(
        xyz=torch.from_numpy(np.concatenate([p.cloud.xyz for p in particles])),
        energy=torch.from_numpy(np.concatenate([p.cloud.energy_mev for p in particles])),
        offset=torch.from_numpy(offsets_of(np.array([p.cloud.num_voxels for p in particles]))),
        label=torch.tensor([p.label for p in particles]),
        particle=torch.tensor([p.index for p in particles]),
    )


def _row(particle: StoredParticle, views: list[_View]) -> list[Panel]:
    """Make the panels of a particle, all in one frame, so that a translation is seen."""
    stored = (f"as stored: {particle.cloud.species}", f"{particle.caption}, ", particle.cloud)
    drawn = [
        (f"view {number}: {' + '.join(names) or 'nothing drawn'}", "", cloud)
        for number, (names, cloud) in enumerate(views, start=1)
    ]
    return [
        particle.panel(
            cloud,
            framed=[particle.cloud, *(view for _, view in views)],
            title=title,
            caption=text + cloud.size,
        )
        for title, text, cloud in (stored, *drawn)
    ]
