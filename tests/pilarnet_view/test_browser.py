"""The pages in a real browser."""

from __future__ import annotations

import itertools
import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilarnet_view import event_scene, particle_scene, write_page
from pilarnet_view.camera import CAMERAS
from pilarnet_view.colours import PARTICLE_COLOURS, SCALES, SPECIES_COLOURS
from pilarnet_view.particles import Choice
from pilarnet_view.scene import Scene
from pilarnet_view.thinning import thin
from tests.sample import SAMPLE

webdriver = pytest.importorskip("selenium.webdriver")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="chromium and chromedriver are not installed"
)
PATIENCE_S = 120


class Browser:
    """One headless browser, and what the tests ask of a page in it."""

    def __init__(self, profile: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in (
            *("headless=new", "no-sandbox", "disable-dev-shm-usage"),
            "disable-gpu",
            *("disable-background-networking", "window-size=1000,760"),
            f"user-data-dir={profile}",
        ):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        service = webdriver.ChromeService(DRIVER)
        self.driver = webdriver.Chrome(options=options, service=service)
        self.driver.set_script_timeout(PATIENCE_S)
        self.driver.set_page_load_timeout(PATIENCE_S)
        self.drawn = 0

    def open(self, page: Path) -> None:
        self.driver.get_log("browser")
        self.driver.get(page.as_uri())
        self.drawn = 0
        self.wait()

    def wait(self) -> None:
        """Wait until a change of what is shown, made since the last wait, is drawn."""
        from selenium.webdriver.support.ui import WebDriverWait

        def drawn(driver: Any) -> int:
            return int(driver.execute_script("return document.body.dataset.drawn || 0"))

        WebDriverWait(self.driver, PATIENCE_S, poll_frequency=0.02).until(
            lambda d: drawn(d) > self.drawn
        )
        self.drawn = drawn(self.driver)

    def choose(self, name: str, text: str) -> None:
        """Choose from a list as a user does."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import Select

        Select(self.driver.find_element(By.ID, name)).select_by_visible_text(text)
        self.wait()

    def click(self, name: str) -> None:
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.ID, name).click()
        self.wait()

    def ask(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *args)

    def shown(self, at: int = 0) -> list[dict[str, Any]]:
        """Return what was drawn into a canvas: name, number of voxels and colour of each cloud."""
        found: list[dict[str, Any]] = self.ask(
            "document.querySelectorAll('canvas')[arguments[0]].shown", at
        )
        return found

    def press(self, text: str) -> None:
        """Press the button with this text, as a user does."""
        from selenium.webdriver.common.by import By

        (button,) = (
            each
            for each in self.driver.find_elements(By.TAG_NAME, "button")
            if each.text == text and each.is_displayed()
        )
        button.click()
        self.wait()

    def resize(self, width: int, height: int = 800, *, touch: bool = False) -> None:
        metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": touch}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
        self.driver.execute_cdp_cmd("Emulation.setTouchEmulationEnabled", {"enabled": touch})

    def touch(self, *steps: list[tuple[float, float]]) -> None:
        """Put fingers down, move them from step to step, and lift them."""
        for kind, fingers in (
            ("touchStart", steps[0]),
            *(("touchMove", step) for step in steps[1:]),
            ("touchEnd", []),
        ):
            points = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(fingers)]
            event = {"type": kind, "touchPoints": points}
            self.driver.execute_cdp_cmd("Input.dispatchTouchEvent", event)

    def box(self, selector: str) -> list[float]:
        found: list[float] = self.ask(
            """((r) => [r.left, r.top, r.right, r.bottom].map(
              (v, i) => v + (i % 2 ? scrollY : scrollX)))(
              document.querySelector(arguments[0]).getBoundingClientRect())""",
            selector,
        )
        return found

    def text(self, name: str) -> str:
        return str(self.ask("document.getElementById(arguments[0]).innerText", name))

    def errors(self) -> list[str]:
        return [e["message"] for e in self.driver.get_log("browser") if e["level"] == "SEVERE"]


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("profile"))
    yield browser
    browser.driver.quit()


def event(tmp_path: Path, **options: Any) -> tuple[Scene, Path]:
    scene = thin(event_scene(SAMPLE, entry=9), max_voxels=1500)
    path = tmp_path / "event.html"
    write_page(scene, path, **options)
    return scene, path


def test_an_event_is_shown_and_what_is_picked_stands_out(browser: Browser, tmp_path: Path):
    scene, path = event(tmp_path)
    browser.open(path)
    assert browser.text("title") == "dlprod_192px_00.root, entry 9"
    assert "1,500 of 2,077 voxels are shown" in browser.text("notes")
    assert "electron (7)" in browser.text("legend")

    def expected(cloud: Any) -> dict[str, Any]:
        colour = SPECIES_COLOURS[cloud.species]
        return {"name": cloud.name, "voxels": len(cloud.energy_mev), "colour": colour}

    assert browser.shown() == [expected(cloud) for cloud in scene.clouds]
    browser.choose("pick", scene.clouds[2].summary)
    colours = [cloud["colour"] for cloud in browser.shown()]
    assert [i for i, colour in enumerate(colours) if colour != "faint"] == [2]
    browser.click("context")
    assert browser.shown() == [expected(scene.clouds[2])]
    browser.choose("pick", "all particles")
    assert len(browser.shown()) == len(scene.clouds)
    assert browser.errors() == []


def test_the_legend_switches_classes_off_and_on(browser: Browser, tmp_path: Path):
    scene, path = event(tmp_path)
    browser.open(path)
    places = browser.box("canvas"), browser.box("#legend")
    browser.press("electron (7)")
    left = [cloud.name for cloud in scene.clouds if cloud.species != "electron"]
    assert [cloud["name"] for cloud in browser.shown()] == left
    assert (browser.box("canvas"), browser.box("#legend")) == places
    # Colours mean something else now, and the classes that are off stay off.
    browser.choose("colouring", "particle")
    assert [cloud["name"] for cloud in browser.shown()] == left
    browser.press("electron (7)")
    assert len(browser.shown()) == len(scene.clouds)
    assert browser.errors() == []


def test_colouring_axes_and_theme(browser: Browser, tmp_path: Path):
    _, path = event(tmp_path, axes="voxels")
    browser.open(path)
    texts = "document.querySelector('canvas').texts.map((t) => t.text)"
    assert {"x [voxel]", "y [voxel]", "z [voxel]"} <= set(browser.ask(texts))
    browser.choose("axes", "cm")
    assert {"x [cm]", "y [cm]", "z [cm]"} <= set(browser.ask(texts))
    browser.choose("colouring", "particle")
    assert len({cloud["colour"] for cloud in browser.shown()}) == len(PARTICLE_COLOURS["light"])
    grounds, ramps = {}, {}
    browser.choose("colouring", "energy (log)")
    for theme in ("light", "dark"):
        browser.choose("theme", f"{theme} theme")
        grounds[theme] = browser.ask("getComputedStyle(document.body).backgroundColor")
        ramps[theme] = browser.ask("document.querySelector('.ramp').style.background")
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 20, 23)"}
    for theme, ramp in ramps.items():
        ends = [tuple(int(c[i : i + 2], 16) for i in (1, 3, 5)) for c in SCALES[theme]]
        assert [tuple(map(int, c)) for c in re.findall(r"rgb\((\d+), (\d+), (\d+)\)", ramp)] == ends
    assert "energy of a voxel [MeV]" in browser.text("key")
    assert browser.errors() == []


def test_the_theme_follows_the_system(browser: Browser, tmp_path: Path):
    def prefer(scheme: str) -> None:
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})

    theme = "document.documentElement.dataset.theme"
    _, path = event(tmp_path)
    prefer("dark")
    browser.open(path)
    assert browser.ask(theme) == "dark"
    prefer("light")
    browser.wait()
    assert browser.ask(theme) == "light"
    browser.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": []})


def test_projections_the_cube_and_no_text_on_another(browser: Browser, tmp_path: Path):
    _, path = event(tmp_path)
    for width in (1280, 390):
        browser.resize(width)
        browser.open(path)
        for name, azimuth_elevation in CAMERAS.items():
            browser.press("3D" if name == "3d" else name)
            azimuth, elevation = azimuth_elevation.azimuth, azimuth_elevation.elevation
            assert browser.text("camera") == f"{azimuth},{elevation}"
            browser.click("cube")
            texts = browser.ask("document.querySelector('canvas').texts")
            titles = {t["text"][0] for t in texts if "[cm]" in t["text"]}
            assert titles == (set("xyz") if name == "3d" else set(name))
            size = browser.ask(
                "((c) => [c.clientWidth, c.clientHeight])(document.querySelector('canvas'))"
            )
            for text in texts:
                assert np.all(np.array(text["box"]) >= 0), text
                assert np.all(np.array(text["box"][2:]) <= size), text
            for one, other in itertools.combinations([t["box"] for t in texts], 2):
                (left, top, right, bottom), (a, b, c, d) = one, other
                assert right <= a or c <= left or bottom <= b or d <= top, (one, other)
    browser.resize(1000)
    assert browser.errors() == []


def test_the_next_event_and_the_previous(browser: Browser, tmp_path: Path):
    from selenium.webdriver.common.keys import Keys

    scene = event_scene(SAMPLE, entry=range(3, 6))
    write_page(scene, tmp_path / "events.html")
    for width in (1280, 390):
        browser.resize(width)
        browser.open(tmp_path / "events.html")
        place = browser.box("canvas")

        def at() -> int:
            (found,) = (
                number
                for number, panel in enumerate(scene.panels)
                if [c["name"] for c in browser.shown()] == [c.name for c in panel.clouds]
                and browser.text("where") == panel.title
            )
            assert browser.box("canvas") == place  # noqa: B023
            return found

        assert at() == 0
        assert not browser.ask("document.getElementById('previous').disabled === false")
        browser.click("next")
        assert at() == 1
        body = browser.driver.switch_to.active_element
        body.send_keys(Keys.ARROW_RIGHT)
        browser.wait()
        assert at() == 2
        assert browser.ask("document.getElementById('next').disabled")
        browser.driver.find_element("tag name", "body").send_keys(Keys.ARROW_LEFT)
        browser.wait()
        assert at() == 1
    browser.resize(1000)
    assert browser.errors() == []


def test_points_and_links_on_demand(browser: Browser, tmp_path: Path):
    scene = event_scene(SAMPLE, entry=9)
    (panel,) = scene.panels
    write_page(scene, tmp_path / "event.html")
    browser.open(tmp_path / "event.html")
    marks = "document.querySelector('canvas').marks"
    assert set(browser.ask(marks).values()) == {0}
    browser.click("points")
    browser.click("links")
    assert browser.ask(marks) == {
        "starts": sum(cloud.start is not None for cloud in panel.clouds),
        "ends": sum(cloud.end is not None for cloud in panel.clouds),
        "vertices": len(panel.vertices),
        "links": len(panel.links),
    }
    assert len(panel.links) > 3
    assert browser.errors() == []


def test_the_plot_keeps_its_place_when_controls_wrap(browser: Browser, tmp_path: Path):
    _, path = event(tmp_path)
    for width in (1280, 800, 390):
        browser.resize(width)
        browser.open(path)
        place = browser.box("canvas")
        for name in ("points", "links", "cube"):
            browser.click(name)
        for colouring in ("particle", "energy (log)", "class"):
            browser.choose("colouring", colouring)
            assert browser.box("canvas") == place, (width, colouring)
        assert browser.ask("document.documentElement.scrollWidth") <= width
    browser.resize(1000)


def test_the_voxel_under_the_pointer_is_told(browser: Browser, tmp_path: Path):
    from selenium.webdriver.common.action_chains import ActionChains

    scene, path = event(tmp_path)
    browser.open(path)
    canvas = browser.driver.find_element("tag name", "canvas")
    # Where the middle voxel of each particle is, and how deep, by the Python of the pictures.
    size = [browser.ask("document.querySelector('canvas').client" + n) for n in ("Width", "Height")]
    told = browser.ask(
        """((canvas) => {
          const { camera, look } = canvas.plot, cloud = look.clouds[arguments[0]];
          const middle = cloud.energy.length >> 1;
          return [camera.project(cloud.voxels.map((v) => v[middle])), cloud.energy[middle]];
        })(document.querySelector('canvas'))""",
        max(range(len(scene.clouds)), key=lambda i: scene.clouds[i].num_voxels),
    )
    (x, y, _), _energy = told
    ActionChains(browser.driver).move_to_element_with_offset(
        canvas, round(x - size[0] / 2), round(y - size[1] / 2)
    ).perform()
    tip = browser.ask("document.querySelector('.tip').innerText")
    largest = max(scene.clouds, key=lambda c: c.num_voxels)
    assert tip.splitlines()[: len(largest.facts)] == list(largest.facts)
    (energy, *place) = re.findall(r"-?[\d.]+", tip.splitlines()[-1].replace("\u2212", "-"))
    row = int(np.argmin(np.abs(largest.energy_mev - float(energy))))
    assert largest.energy_mev[row] == pytest.approx(float(energy), rel=6e-3)
    cm = scene.panels[0].origin_cm + (largest.xyz[row] + 0.5) * np.array(scene.voxel_cm)
    assert [float(p) for p in place] == pytest.approx(cm.tolist(), abs=0.06)
    assert browser.errors() == []


def test_a_gallery_and_the_event_of_a_particle(browser: Browser, shards: Path, tmp_path: Path):
    scene = particle_scene(shards, choice=Choice(count=14))
    write_page(scene, tmp_path / "gallery.html")
    browser.open(tmp_path / "gallery.html")
    assert browser.ask("document.querySelectorAll('canvas').length") == 14
    assert [c["name"] for c in browser.shown()] == [scene.panels[0].clouds[0].name]
    browser.driver.execute_script("document.querySelectorAll('figcaption button')[3].click()")
    browser.wait()
    panel = scene.panels[3]
    assert browser.text("where") == panel.title
    browser.press("its event")
    assert panel.event is not None
    assert browser.text("where") == panel.event.title
    assert [c["name"] for c in browser.shown()] == [c.name for c in panel.event.clouds]
    colours = [c["colour"] for c in browser.shown()]
    assert [i for i, colour in enumerate(colours) if colour != "faint"] == [panel.event.focus]
    browser.press("back")
    browser.click("next")
    assert browser.text("where") == scene.panels[4].title
    browser.press("all")
    assert browser.ask("document.querySelectorAll('canvas').length") == 14
    assert browser.errors() == []


def test_a_particle_and_its_views_stay_in_a_row(browser: Browser, shards: Path, tmp_path: Path):
    pytest.importorskip("torch")
    from pilarnet_view.augmented import views_scene

    choice = Choice(count=3, num_views=4, seed=1)
    write_page(views_scene(shards, choice=choice), tmp_path / "views.html")
    for width in (1920, 1280, 390):
        browser.resize(width)
        browser.open(tmp_path / "views.html")
        tops = browser.ask(
            "[...document.querySelectorAll('canvas')].map((c) => c.getBoundingClientRect().top)"
        )
        assert len(tops) == 15
        for first in (0, 5, 10):
            assert len(set(tops[first : first + 5])) == 1
        assert len(set(tops)) == 3
        assert browser.ask("document.documentElement.scrollWidth") <= width
    browser.resize(1000)
    assert browser.errors() == []


def test_panels_turn_together_and_each_is_drawn(browser: Browser, shards: Path, tmp_path: Path):
    from selenium.webdriver.common.action_chains import ActionChains

    write_page(particle_scene(shards, choice=Choice(count=2)), tmp_path / "two.html")
    browser.open(tmp_path / "two.html")
    pixels = "[...document.querySelectorAll('canvas')].map((c) => c.toDataURL())"
    before = browser.ask(pixels)
    canvas = browser.driver.find_element("tag name", "canvas")
    ActionChains(browser.driver).drag_and_drop_by_offset(canvas, 50, 25).perform()
    browser.wait()
    # 0.4 degrees a pixel: to the right the picture follows the pointer.
    assert browser.text("camera") == "-80,35"
    after = browser.ask(pixels)
    assert all(one != other for one, other in zip(before, after, strict=True))
    assert browser.errors() == []


def test_fingers_turn_zoom_and_tell_and_scroll_the_page_elsewhere(
    browser: Browser, shards: Path, tmp_path: Path
):
    scene, path = event(tmp_path)
    browser.resize(390, 844, touch=True)
    browser.open(path)
    view = "document.querySelector('canvas').plot.look.view"
    left, top, width, height = browser.ask(
        "(({ left, top, width, height }) => [left, top, width, height])"
        "(document.querySelector('canvas').getBoundingClientRect())"
    )
    x, y = left + width / 2, top + height / 2

    def drag(dx: float, dy: float, *starts: tuple[float, float], spread: float = 0) -> None:
        browser.touch(
            *(
                [
                    (a + part * (dx + sign * spread), b + part * dy)
                    for (a, b), sign in zip(starts, (-1, 1), strict=False)
                ]
                for part in np.linspace(0, 1, 6)
            )
        )
        browser.wait()

    drag(40, 30, (x, y))
    drag(0, 20, (x, y))  # upwards and downwards too
    turned = browser.ask(view)
    assert (turned["azimuth"], turned["elevation"]) == pytest.approx((-60 - 16, 25 + 20))
    drag(0, 0, (x - 40, y), (x + 40, y), spread=40)
    assert browser.ask(view)["zoom"] == pytest.approx(2)
    before = browser.ask(view)["pan"]
    drag(30, 20, (x - 40, y), (x + 40, y))
    assert np.subtract(browser.ask(view)["pan"], before) == pytest.approx([30, 20])
    assert browser.ask("scrollY") == 0
    largest = max(range(len(scene.clouds)), key=lambda i: scene.clouds[i].num_voxels)
    at = browser.ask(
        """((plot, cloud) => plot.camera.project(cloud.voxels.map((v) => v[0])))(
          document.querySelector('canvas').plot,
          document.querySelector('canvas').plot.look.clouds[arguments[0]])""",
        largest,
    )
    browser.touch([(left + at[0], top + at[1])])
    assert scene.clouds[largest].name in browser.ask("document.querySelector('.tip').innerText")
    browser.touch(*([(x, top - 10 - part)] for part in (0, 20, 40, 60, 80)))
    assert browser.ask("scrollY") > 20

    # Of many particles a finger scrolls the page.
    write_page(particle_scene(shards, choice=Choice(count=6)), tmp_path / "gallery.html")
    browser.open(tmp_path / "gallery.html")
    browser.touch(*([(x, y - part)] for part in (0, 20, 40, 60, 80)))
    assert browser.ask("scrollY") > 20
    assert browser.text("camera") == "-60,25"
    browser.resize(1000)
    assert browser.errors() == []


def test_keys_turn_zoom_and_page(browser: Browser, tmp_path: Path):
    from selenium.webdriver.common.keys import Keys

    write_page(event_scene(SAMPLE, entry=range(3)), tmp_path / "events.html")
    browser.open(tmp_path / "events.html")
    view = "document.querySelector('canvas').plot.look.view"
    browser.click("cube")  # the box has the focus now
    box = browser.driver.switch_to.active_element
    for keys, found in (
        (Keys.SHIFT + Keys.ARROW_LEFT, {"azimuth": -50, "elevation": 25, "zoom": 1}),
        (Keys.SHIFT + Keys.ARROW_DOWN, {"azimuth": -50, "elevation": 35, "zoom": 1}),
        ("+", {"azimuth": -50, "elevation": 35, "zoom": 1.25}),
        ("0", {"azimuth": -60, "elevation": 25, "zoom": 1}),
    ):
        box.send_keys(keys)
        browser.wait()
        assert browser.ask(view).items() >= found.items()
    box.send_keys(Keys.ENTER)
    box.send_keys(Keys.ARROW_RIGHT)
    browser.wait()
    assert browser.text("where").startswith("entry 1")
    assert browser.errors() == []


def test_nothing_leaves_the_page(browser: Browser, tmp_path: Path):
    import json

    _, path = event(tmp_path)
    browser.driver.get_log("performance")
    browser.open(path)
    sent = [json.loads(e["message"])["message"] for e in browser.driver.get_log("performance")]
    urls = {
        m["params"]["request"]["url"] for m in sent if m["method"] == "Network.requestWillBeSent"
    }
    assert {url.split(":")[0] for url in urls} <= {"file", "data", "blob"}
    assert path.as_uri() in urls


def test_names_in_a_file_are_text(browser: Browser, tmp_path: Path):
    """What a file says is shown as it is, in the hover text too."""
    evil = "</script><img src=x onerror=document.body.dataset.evil=1>"
    scene, path = event(tmp_path)
    cloud = replace(scene.clouds[0], process=evil, name=evil)
    panel = replace(scene.panels[0], clouds=(cloud,), title=evil, caption=evil)
    write_page(replace(scene, title=evil, notes=(evil,), panels=(panel, panel)), path)
    browser.open(path)
    browser.choose("colouring", "particle")
    browser.driver.execute_script(
        "const { plot } = document.querySelector('canvas');"
        "const [x, y] = plot.camera.project(plot.look.clouds[0].voxels.map((v) => v[0]));"
        "plot.tell(x, y)"
    )
    for text in (browser.text("title"), browser.text("where"), browser.text("notes")):
        assert text == evil
    assert evil in browser.text("key")
    assert evil in browser.ask("document.querySelector('.tip').innerText")
    assert not browser.ask("document.body.dataset.evil")
    assert browser.ask("document.querySelectorAll('img').length") == 0
