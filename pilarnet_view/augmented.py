"""A scene of particles beside their augmented views, as training makes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from pilarnet_convert.errors import MissingDependencyError
from pilarnet_convert.shards.reader import open_shards
from pilarnet_view.particles import Choice, Stored, caption, gallery, read_particles
from pilarnet_view.scene import Cloud, Panel, Scene, frame

__all__ = ["views_scene"]


def views_scene(
    path: str | Path,
    *,
    choice: Choice | None = None,
    num_views: int = 2,
    epoch: int = 0,
    augmentations: Sequence[str] | None = None,
    num_augmentations: int | None = None,
) -> Scene:
    """Read particles and make views of them: a row of panels each, in one frame.

    Parameters
    ----------
    path : str or Path
        What ``pilarnet-convert`` wrote.
    choice : Choice, optional
        Which particles; one of the train split by default. Its seed is that of the views too:
        with the seed, the epoch and the index of a training run, they are the views that the
        network was shown.
    num_views : int
        Views of each particle.
    epoch : int
        What the draw depends on besides.
    augmentations : sequence of str, optional
        What to draw from, as in training; the default of training by default.
    num_augmentations : int, optional
        How many each view draws; likewise.

    Raises
    ------
    MissingDependencyError
        If torch is not installed.
    PilarnetError
        As `pilarnet_view.particles.particle_scene`, or if there is no such augmentation.
    """
    try:
        import torch

        from clr_train.batch import ParticleBatch
        from clr_train.views.augmentations import AUGMENTATIONS
        from clr_train.views.make import ViewConfig, drawn_augmentations, make_views
    except ImportError as error:
        raise MissingDependencyError(
            "views are made by torch, which is not installed",
            field="--views",
            advice="pip install 'pilarnet-clr[train]'",
        ) from error

    default = ViewConfig()
    config = ViewConfig(
        augmentations=default.augmentations if augmentations is None else tuple(augmentations),
        num_augmentations=(
            default.num_augmentations if num_augmentations is None else num_augmentations
        ),
        energy_transform="none",
    )
    shards = open_shards(path)
    choice = choice or Choice(count=1)
    particles = read_particles(shards, choice=choice)
    batch = ParticleBatch(
        xyz=torch.from_numpy(np.concatenate([p.cloud.xyz for p in particles])),
        energy=torch.from_numpy(np.concatenate([p.cloud.energy_mev for p in particles])),
        offset=torch.tensor([0, *np.cumsum([p.cloud.num_voxels for p in particles])]),
        label=torch.tensor([p.label for p in particles]),
        particle=torch.tensor([p.index for p in particles]),
    )
    rows: list[list[tuple[tuple[str, ...], Cloud]]] = [[] for _ in particles]
    for view in range(num_views):
        key: dict[str, Any] = {"seed": choice.seed, "epoch": epoch, "view": view, "config": config}
        made = make_views(batch, **key)
        names = drawn_augmentations(batch.particle, **key)
        for number, particle in enumerate(particles):
            mine = made.particle == number
            cloud = _view_of(
                particle.cloud, made.xyz[mine].numpy(), made.features[mine, 0].numpy(), view
            )
            rows[number].append((names[number], cloud))
    panels = [panel for p, row in zip(particles, rows, strict=True) for panel in _row(p, row)]
    drawn = {name for row in rows for names, _ in row for name in names}
    used = [f"{name}: {AUGMENTATIONS[name].meaning}" for name in AUGMENTATIONS if name in drawn]
    scene = gallery(shards, choice=choice, particles=particles, panels=panels)
    plural = "" if len(particles) == 1 else "s"
    return replace(
        scene,
        title=f"{shards.path.resolve().name}: particle{plural} and views",
        subtitle=f"{scene.subtitle}; seed {choice.seed}, epoch {epoch}",
        notes=tuple(used),
    )


def _view_of(cloud: Cloud, xyz: object, energy_mev: object, view: int) -> Cloud:
    known = ("species", "number", "pdg", "process", "energy_init_mev", "event")
    return Cloud.of(
        np.asarray(xyz),
        np.asarray(energy_mev),
        name=f"{cloud.name}, view {view + 1}",
        **{name: getattr(cloud, name) for name in known},
    )


def _row(particle: Stored, views: list[tuple[tuple[str, ...], Cloud]]) -> list[Panel]:
    """Make the panels of a particle, all in one frame, so that a translation is seen."""
    clouds = [particle.cloud, *(cloud for _, cloud in views)]
    low, high = frame(clouds)
    titles = [
        f"as stored: {particle.cloud.species}",
        *(
            f"view {number + 1}: {' + '.join(names) or 'nothing drawn'}"
            for number, (names, _) in enumerate(views)
        ),
    ]
    captions = [f"{caption(particle)}, {particle.cloud.size}", *(c.size for c in clouds[1:])]
    return [
        Panel(
            title=title,
            caption=text,
            clouds=(cloud,),
            low=low,
            high=high,
            origin_cm=particle.origin_cm,
        )
        for title, text, cloud in zip(titles, captions, clouds, strict=True)
    ]
