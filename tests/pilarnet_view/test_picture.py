"""Pictures: texts, sizes and colours."""

from __future__ import annotations

import itertools
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import MissingDependencyError, PilarnetError
from pilarnet_convert.pictures import new_figure
from pilarnet_view import event_scene, particle_scene, write_picture
from pilarnet_view.camera import CAMERAS as CAMERAS_BY_NAME
from pilarnet_view.camera import Camera
from pilarnet_view.colours import NO_PARTICLE, SCALES, SPECIES_COLOURS
from pilarnet_view.drawing import Look, draw_panel
from pilarnet_view.particles import Choice
from pilarnet_view.projection import Projection, nice_ticks
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


CAMERAS = [*CAMERAS_BY_NAME.values(), Camera(-170, -50), Camera(3, 8), Camera(130, 70)]


@pytest.mark.parametrize("columns", [1, 4])
def test_no_text_of_the_axes_is_cut_or_lies_on_another(scene: Scene, columns: int):
    """By the boxes that matplotlib itself measures."""
    for camera, cube in zip(CAMERAS, itertools.cycle((False, True)), strict=False):
        figure = new_figure(7.2 / columns**0.5, 5.6 / columns**0.5, layout=None)
        axes = figure.add_axes((0, 0, 1, 1))
        look = Look(voxel_cm=np.full(3, 0.3), colouring="class", limits_mev=(0.1, 10.0),
                    camera=camera, small=columns > 1)  # fmt: skip
        panel = scene.panels[0].with_cube() if cube else scene.panels[0]
        draw_panel(axes, replace(panel, clouds=panel.clouds[:1]), look)
        boxes = [text.get_window_extent() for text in axes.texts]
        texts = [text.get_text() for text in axes.texts]
        assert len({text for text in texts if "[cm]" in text}) >= 2, camera
        for box in boxes:
            assert figure.bbox.padded(1).contains(box.x0, box.y0), (camera, texts)
            assert figure.bbox.padded(1).contains(box.x1, box.y1), (camera, texts)
        for one, other in itertools.combinations(boxes, 2):
            assert not one.overlaps(other), (camera, texts)


@pytest.mark.parametrize(
    ("low", "high", "most", "expected"),
    [
        (-0.5, 767.5, 4, ["0", "200", "400", "600"]),
        (-23.9, 26.1, 3, ["\u221220", "0", "20"]),
        (38.2, 40.7, 5, ["38.5", "39.0", "39.5", "40.0", "40.5"]),
        (33.0, 57.0, 1, ["40", "50"]),  # 40 alone would tell no scale
        (-24.9, -16.8, 1, ["\u221220"]),  # more have no room
    ],
)
def test_ticks(low: float, high: float, most: float, expected: list[str]):
    ticks, texts = nice_ticks(low, high, most=most)
    assert texts == expected
    assert [float(text.replace("\u2212", "-")) for text in texts] == pytest.approx(list(ticks))


def test_a_projection_is_true_to_scale(scene: Scene, tmp_path: Path):
    """Along z the picture is x to the right and y up, as many points a voxel on both axes."""
    panel = scene.panels[0]
    box = np.stack([panel.low, panel.high])
    projection = Projection(box, CAMERAS_BY_NAME["xy"], (50.0, 450.0, 40.0, 340.0))
    xyz = np.concatenate([cloud.xyz for cloud in panel.clouds])
    points, depth = projection.project(xyz)
    slope = [np.polyfit(xyz[:, axis], points[:, axis], 1)[0] for axis in (0, 1)]
    assert slope[0] == pytest.approx(slope[1])
    assert slope[0] > 0
    assert np.array_equal(np.argsort(depth), np.argsort(xyz[:, 2] - xyz[:, 2].mean()))
    assert np.all((points >= (50, 40)) & (points <= (450, 340)))
    write_picture(scene, tmp_path / "xy.png", camera=CAMERAS_BY_NAME["xy"], cube=True)
    assert image.imread(tmp_path / "xy.png").shape[2] == 4


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
