"""Scenes of particles beside their augmented views."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import MissingDependencyError, PilarnetError

torch = pytest.importorskip("torch")

from clr_train.batch import ParticleBatch  # noqa: E402
from clr_train.stream.reader import SplitReader  # noqa: E402
from clr_train.views.config import ViewConfig  # noqa: E402
from clr_train.views.make import drawn_augmentations, make_views  # noqa: E402
from pilarnet_view.augmented import views_scene  # noqa: E402
from pilarnet_view.particles import Choice  # noqa: E402


def test_views_are_those_that_training_makes(shards: Path):
    # Read as training reads them, in another company.
    indices = (5, 90, 17)
    reader = SplitReader(shards, split="train", block_particles=64)
    batch = ParticleBatch.from_arrays(reader.read(np.arange(100)))
    scene = views_scene(shards, choice=Choice(index=indices, seed=7, num_views=3, epoch=2))
    assert len(scene.panels) == 3 * 4
    config = ViewConfig(energy_transform="none")
    for view in range(3):
        made = make_views(batch, seed=7, epoch=2, view=view, config=config)
        names = drawn_augmentations(batch.particle, seed=7, epoch=2, view=view, config=config)
        for row, index in enumerate(indices):
            panel = scene.panels[4 * row + 1 + view]
            mine = made.particle == index
            assert np.array_equal(panel.clouds[0].xyz, made.xyz[mine].numpy())
            assert np.array_equal(panel.clouds[0].energy_mev, made.features[mine, 0].numpy())
            assert panel.title == f"view {view + 1}: {' + '.join(names[index])}"


def test_a_particle_and_its_views_have_one_frame(shards: Path):
    scene = views_scene(shards, choice=Choice(count=2, label="muon"))
    for first in (0, 3):
        row = scene.panels[first : first + 3]
        assert row[0].title == "as stored: muon"
        for panel in row:
            assert np.array_equal(panel.low, row[0].low)
            assert np.all(panel.clouds[0].xyz.min(axis=0) > panel.low)
            assert np.all(panel.clouds[0].xyz.max(axis=0) < panel.high)
    assert (scene.group, scene.columns, len(scene.panels)) == (3, 3, 6)
    assert all(panel.event is not None for panel in scene.panels)


def test_augmentations_can_be_chosen(shards: Path):
    scene = views_scene(
        shards, choice=Choice(index=(3,), augmentations=("cutout",), num_augmentations=1)
    )
    stored, view = scene.panels[0].clouds[0], scene.panels[1].clouds[0]
    assert scene.panels[1].title == "view 1: cutout"
    assert scene.notes == ("cutout: a random cube is removed",)
    left = {tuple(v) for v in view.xyz.tolist()}
    assert left < {tuple(v) for v in stored.xyz.tolist()}
    nothing = views_scene(shards, choice=Choice(index=(3,), num_augmentations=0))
    assert nothing.panels[1].title == "view 1: nothing drawn"
    with pytest.raises(PilarnetError, match=r"--augmentations: .*found blur"):
        views_scene(shards, choice=Choice(augmentations=("blur",), num_augmentations=1))


def test_without_torch(shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(
        MissingDependencyError, match=r"--views: views are made by torch.*\[train\]"
    ):
        views_scene(shards)
