from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import MissingDependencyError, PilarnetError
from pilarnet_view import event_scene, particle_scene, write_picture
from pilarnet_view.colours import NO_PARTICLE, SCALES, SPECIES_COLOURS
from pilarnet_view.particles import Choice
from pilarnet_view.scene import Scene
from tests.sample import SAMPLE

image = pytest.importorskip("matplotlib.image")


@pytest.fixture(scope="module")
def scene() -> Scene:
    return event_scene(SAMPLE, entry=9)


def pixels_of(path: Path, colour: str) -> int:
    """Count the pixels of exactly this colour."""
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    found = (255 * image.imread(path)[..., :3]).round()
    return int(np.all(found == wanted, axis=-1).sum())


def test_an_event_has_the_colours_of_its_classes(scene: Scene, tmp_path: Path):
    path = tmp_path / "event.png"
    write_picture(scene, path)
    present = {cloud.species for cloud in scene.clouds}
    for species, colour in SPECIES_COLOURS.items():
        # A dot of the legend is some 150 pixels; a class with a few hundred voxels has more.
        voxels = sum(c.num_voxels for c in scene.clouds if c.species == species)
        count = pixels_of(path, colour)
        assert (count > 100) == (species in present), species
        assert count > (1000 if voxels > 150 else 0) or species not in present


def test_energies_are_drawn_on_their_scale(scene: Scene, tmp_path: Path):
    path = tmp_path / "event.png"
    write_picture(scene, path, colouring="energy", axes="voxels")
    # Grey is also on the edges of letters.
    coloured = [colour for name, colour in SPECIES_COLOURS.items() if name != NO_PARTICLE]
    assert all(pixels_of(path, colour) == 0 for colour in coloured)
    assert pixels_of(path, SCALES["light"][0]) > 20


def test_particles_get_a_panel_each(shards: Path, tmp_path: Path):
    few, many = tmp_path / "2.png", tmp_path / "6.png"
    write_picture(particle_scene(shards, choice=Choice(count=2)), few)
    write_picture(particle_scene(shards, choice=Choice(count=6)), many, colouring="particle")
    assert image.imread(many).shape[0] > 1.5 * image.imread(few).shape[0]
    assert image.imread(many).shape[1] == 2 * image.imread(few).shape[1]


@pytest.mark.parametrize(("suffix", "magic"), [(".pdf", b"%PDF"), (".svg", b"<?xml")])
def test_pictures_of_other_kinds(scene: Scene, tmp_path: Path, suffix: str, magic: bytes):
    path = tmp_path / f"event{suffix}"
    write_picture(scene, path, colouring="particle")
    assert path.read_bytes().startswith(magic)


def test_what_cannot_be_drawn(scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    with pytest.raises(PilarnetError, match=r"--png: not a kind of picture .*found \.xyz"):
        write_picture(scene, tmp_path / "event.xyz")
    with pytest.raises(PilarnetError, match="found no ending"):
        write_picture(scene, tmp_path / "event")
    with pytest.raises(PilarnetError, match="the events differ in the size of a voxel"):
        write_picture(replace(scene, voxel_cm=None), tmp_path / "event.png", axes="cm")
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(MissingDependencyError, match=r"matplotlib, which is not.*\[plot\]"):
        write_picture(scene, tmp_path / "event.png")
