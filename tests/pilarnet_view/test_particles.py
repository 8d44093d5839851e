"""Scenes of particles from shards."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError
from pilarnet_convert.species import CLASSES
from pilarnet_view import event_scene, particle_scene
from pilarnet_view.particles import Choice
from tests.sample import SAMPLE


def test_particles_are_read_from_whichever_shard_holds_them(shards: Path):
    opened = open_shards(shards).splits["train"]
    assert len(opened) > 2
    sizes = np.cumsum([0, *(shard.num_particles for shard in opened)])
    indices = (0, int(sizes[1]) - 1, int(sizes[1]), int(sizes[2]) + 3, int(sizes[-1]) - 1)
    scene = particle_scene(shards, choice=Choice(index=indices))
    for index, cloud in zip(indices, scene.clouds, strict=True):
        number = int(np.searchsorted(sizes, index, "right")) - 1
        shard, row = opened[number], index - int(sizes[number])
        whole = shard.read()
        rows = slice(whole["offset"][row], whole["offset"][row + 1])
        assert np.array_equal(cloud.xyz, np.stack([whole[a][rows] for a in "xyz"], axis=1))
        assert np.array_equal(cloud.energy_mev, whole["energy"][rows])
        assert cloud.pdg == whole["pdg"][row]
        assert cloud.process == shard.process_names[whole["process"][row]]
        assert cloud.species == CLASSES[whole["label"][row]].name
        assert f"event {whole['event'][row]}, cluster {whole['cluster'][row]}" in cloud.event


@pytest.mark.parametrize("label", [c.name for c in CLASSES])
def test_a_class_is_drawn_alone_and_without_repetition(shards: Path, label: str):
    choice = Choice(label=label, count=5)
    clouds = particle_scene(shards, choice=choice).clouds
    assert {c.species for c in clouds} == {label}
    assert len({c.name for c in clouds}) == 5


def test_the_draw_depends_on_the_seed_alone(shards: Path):
    def names(seed: int) -> list[str]:
        return [c.name for c in particle_scene(shards, choice=Choice(seed=seed)).clouds]

    assert names(1) == names(1)
    assert names(1) != names(2)


def test_a_class_is_shown_whole_when_it_has_too_few(shards: Path):
    total = sum(s.counts["gamma"] for s in open_shards(shards).splits["train"])
    scene = particle_scene(shards, choice=Choice(label="gamma", count=1000))
    assert len(scene.panels) == total


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        (Choice(split="test"), r"test: no particles in the split"),
        (
            Choice(index=(3, 100_000)),
            r"--index: no such particle \(expected 0 to \d+ in the train",
        ),
        (Choice(index=(-1,)), r"--index: no such particle"),
    ],
)
def test_particles_that_are_not_there(shards: Path, choice: Choice, message: str):
    with pytest.raises(PilarnetError, match=message):
        particle_scene(shards, choice=choice)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"split": "dev"}, r"--split: unusable value \(expected one of train, val, test"),
        ({"label": "kaon"}, r"--label: unusable value \(expected one of electron"),
        ({"count": 0}, r"--count: unusable value \(expected at least 1"),
        ({"seed": -1}, r"--seed: unusable value \(expected at least 0"),
    ],
)
def test_choices_that_cannot_be(value: dict[str, Any], message: str):
    with pytest.raises(OptionError, match=message):
        Choice(**value)


def test_the_event_of_a_particle_is_there_too(shards: Path):
    scene = particle_scene(shards, choice=Choice(index=(60, 61)))
    for panel in scene.panels:
        event, cloud = panel.event, panel.clouds[0]
        assert event is not None
        assert event.focus is not None
        assert np.array_equal(event.clouds[event.focus].xyz, cloud.xyz)
        assert event.title in cloud.event
        # The file itself has all of the event; the shards lack what has fewer than 10 voxels.
        entry = int(re.findall(r"entry (\d+)", event.caption)[0])
        file = event_scene(SAMPLE, entry=entry)
        expected = {c.name: c for c in file.clouds if c.pdg is not None and c.num_voxels >= 10}
        assert expected.keys() == {c.name for c in event.clouds}
        for found in event.clouds:
            of_file = expected[found.name]
            assert np.array_equal(found.xyz, of_file.xyz)
            assert found.start == pytest.approx(of_file.start, abs=1e-3)
            assert found.end == pytest.approx(of_file.end, abs=1e-3)


def test_a_label_without_particles(tmp_path: Path):
    # The sample's first event has no muon.
    convert(SAMPLE, tmp_path / "one", splits="train=1", max_events=1, workers=1)
    with pytest.raises(
        PilarnetError, match=r"--label: no muon in the train split \(found electron 1"
    ):
        particle_scene(tmp_path / "one", choice=Choice(label="muon"))


def test_events_that_differ_in_their_voxels_have_no_cm(shards: Path):
    opened = open_shards(shards)
    assert opened.voxel_cm == pytest.approx((0.3, 0.3, 0.3))
    cube = opened.attributes["geometry"][0]
    other = {**cube, "voxel_size_cm": [0.4, 0.4, 0.4]}
    opened.attributes = {**opened.attributes, "geometry": [cube, other]}
    assert opened.voxel_cm is None
