"""Pages: their data, and that they hold nothing foreign."""

from __future__ import annotations

import base64
import json
import re
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import PilarnetError
from pilarnet_view import event_scene, write_page
from pilarnet_view.camera import Camera
from pilarnet_view.colours import SPECIES_COLOURS
from pilarnet_view.page import document, page
from pilarnet_view.scene import Scene
from tests.sample import SAMPLE


@pytest.fixture(scope="module")
def scene() -> Scene:
    return event_scene(SAMPLE, entry=9)


def data_of(text: str) -> dict[str, object]:
    (data,) = re.findall(r'<script type="application/json" id="data">(.*)</script>', text)
    found: dict[str, object] = json.loads(data)
    return found


def test_the_page_holds_every_voxel(scene: Scene):
    found = data_of(page(scene))
    clouds = found["panels"][0]["clouds"]  # type: ignore[index]
    for cloud, stored in zip(scene.clouds, clouds, strict=True):
        xyz = np.frombuffer(base64.b64decode(stored["xyz"]), "<i4").reshape(3, -1).T
        assert np.array_equal(xyz, cloud.xyz)
        energy = np.frombuffer(base64.b64decode(stored["energy_mev"]), "<f4")
        assert np.array_equal(energy, cloud.energy_mev)
        assert stored["species"] in SPECIES_COLOURS


def test_the_page_is_the_same_each_time(scene: Scene, tmp_path: Path):
    write_page(scene, tmp_path / "a.html")
    assert (tmp_path / "a.html").read_text("utf-8") == page(event_scene(SAMPLE, entry=9))


def test_the_page_fetches_nothing(scene: Scene):
    text = page(scene)
    assert re.search(r"default-src 'none'", text)
    assert not re.search(r"""<(?:script|img|iframe)[^>]+src\s*=|<link[^>]+href="(?!data:)""", text)


def test_a_name_of_a_file_cannot_become_markup(scene: Scene):
    evil = "</script><script>alert(1)</script>"
    cloud = replace(scene.clouds[0], process=evil)
    panel = replace(scene.panels[0], clouds=(cloud,))
    text = page(replace(scene, title=evil, panels=(panel,)))
    assert evil not in text
    found = data_of(text)
    assert found["title"] == evil
    assert evil in found["panels"][0]["clouds"][0]["facts"][1]  # type: ignore[index]


def test_what_is_shown_at_first(scene: Scene):
    assert document(scene, colouring=None, axes=None)["colouring"] == "class"
    found = document(scene, colouring="energy", axes="voxels")
    assert (found["colouring"], found["axes"]) == ("energy", "voxels")
    flat = replace(scene, voxel_cm=None)
    assert document(flat, colouring=None, axes=None)["axes"] == "voxels"
    with pytest.raises(PilarnetError, match="--axes: the events differ in the size of a voxel"):
        document(flat, colouring=None, axes="cm")
    with pytest.raises(PilarnetError, match="--axes: no such unit"):
        document(scene, colouring=None, axes="mm")
    found = document(scene, colouring=None, axes=None, camera=Camera(10, 20), cube=True)
    assert (found["camera"], found["cube"]) == ({"azimuth": 10, "elevation": 20}, True)
    with pytest.raises(PilarnetError, match="--colour: no such colouring"):
        document(scene, colouring="charge", axes=None)


def test_pages_need_no_library(scene: Scene, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    # The voxels take 22 bytes each in base64; all else is small.
    assert len(page(scene)) < 22 * sum(c.num_voxels for c in scene.clouds) + 80_000
