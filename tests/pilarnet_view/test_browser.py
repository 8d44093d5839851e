"""The pages in a real browser."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilarnet_view import event_scene, particle_scene, write_page
from pilarnet_view.colours import SCALES, SPECIES_COLOURS
from pilarnet_view.particles import Choice
from pilarnet_view.scene import Scene
from pilarnet_view.thinning import thin
from tests.sample import SAMPLE

webdriver = pytest.importorskip("selenium.webdriver")
pytest.importorskip("plotly")
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
            *("use-angle=swiftshader", "enable-unsafe-swiftshader"),
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
        """Wait until the page has been drawn once more."""
        from selenium.webdriver.support.ui import WebDriverWait

        self.drawn += 1
        WebDriverWait(self.driver, PATIENCE_S).until(
            lambda d: int(d.execute_script("return document.body.dataset.drawn || 0")) >= self.drawn
        )

    def choose(self, name: str, text: str) -> None:
        """Choose from a list as a user does."""
        from selenium.webdriver.common.by import By
        from selenium.webdriver.support.ui import Select

        Select(self.driver.find_element(By.ID, name)).select_by_visible_text(text)
        self.wait()

    def click(self, name: str) -> None:
        from selenium.webdriver.common.by import By

        self.driver.find_element(By.ID, name).click()

    def ask(self, script: str, *args: Any) -> Any:
        return self.driver.execute_script(f"return {script}", *args)

    def traces(self) -> list[dict[str, Any]]:
        """Give what plotly holds: name, voxels, colour and hover text, of visible panels."""
        found: list[dict[str, Any]] = self.ask(
            """[...document.querySelectorAll('.js-plotly-plot')]
            .filter((div) => div.offsetParent !== null)
            .flatMap((div) => div.data.map((t) => ({
              name: t.name, voxels: t.x.length, first: [t.x[0], t.y[0], t.z[0]],
              colour: typeof t.marker.color === 'string' ? t.marker.color : 'scale',
              scale: t.marker.colorscale, hover: t.hovertemplate,
            })))"""
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

    def expected(cloud: Any) -> tuple[str, int, str]:
        return cloud.name, len(cloud.energy_mev), SPECIES_COLOURS[cloud.species]

    every = [(t["name"], t["voxels"], t["colour"]) for t in browser.traces()]
    assert every == [expected(cloud) for cloud in scene.clouds]
    for cloud, trace in zip(scene.clouds, browser.traces(), strict=True):
        assert all(fact in trace["hover"] for fact in cloud.facts)

    browser.choose("pick", scene.picks[2].name)
    colours = [t["colour"] for t in browser.traces()]
    assert [i for i, c in enumerate(colours) if c in SPECIES_COLOURS.values()] == [2]
    browser.click("context")
    browser.wait()
    assert [t["name"] for t in browser.traces()] == [scene.clouds[2].name]
    browser.choose("pick", "all particles")
    assert len(browser.traces()) == len(scene.clouds)
    assert browser.errors() == []


def test_colouring_axes_and_theme(browser: Browser, tmp_path: Path):
    scene, path = event(tmp_path, axes="voxels")
    browser.open(path)
    assert browser.traces()[0]["first"] == scene.clouds[0].xyz[0].tolist()
    browser.choose("axes", "cm")
    centre = scene.panels[0].origin_cm + (scene.clouds[0].xyz[0] + 0.5) * np.array(scene.voxel_cm)
    assert browser.traces()[0]["first"] == pytest.approx(centre.tolist(), rel=1e-5)
    axis = "document.querySelector('.js-plotly-plot')._fullLayout.scene"
    assert browser.ask(f"{axis}.xaxis.title.text") == "x [cm]"
    # A voxel is as long on one axis as on another.
    lengths = browser.ask(
        f"['x', 'y', 'z'].map((a) => {axis}.aspectratio[a] / "
        f"({axis}[a + 'axis'].range[1] - {axis}[a + 'axis'].range[0]))"
    )
    assert lengths == pytest.approx([lengths[0]] * 3, rel=1e-5)

    browser.choose("colouring", "particle")
    assert len({t["colour"] for t in browser.traces()}) == 7
    grounds = {}
    browser.choose("colouring", "energy (log scale)")
    for theme in ("light", "dark"):
        browser.choose("theme", theme)
        grounds[theme] = browser.ask("getComputedStyle(document.body).backgroundColor")
        scale = [colour for _, colour in browser.traces()[0]["scale"]]
        assert scale == list(SCALES[theme])
    assert grounds == {"light": "rgb(255, 255, 255)", "dark": "rgb(18, 20, 23)"}
    assert "energy of a voxel [MeV]" in browser.text("legend")
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


def test_the_voxel_under_the_pointer_is_told(browser: Browser, tmp_path: Path):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    scene, path = event(tmp_path)
    browser.open(path)
    plot = browser.driver.find_element(By.CSS_SELECTOR, ".js-plotly-plot")
    # Where the middle voxel of the largest particle lies on the screen, by the plot's own camera.
    largest = min(range(len(scene.clouds)), key=lambda i: scene.clouds[i].number)
    x, y = browser.ask(
        """((div, number) => {
          const scene = div._fullLayout.scene._scene, trace = div.data[number];
          const of = (f) => [0, 1, 2, 3].map(f);
          const middle = trace.x.length >> 1;
          const { model, view, projection } = scene.glplot.cameraParams;
          let at = ['x', 'y', 'z'].map((a, i) => trace[a][middle] * scene.dataScale[i]).concat(1);
          for (const m of [model, view, projection]) {
            at = of((r) => of((c) => m[4 * c + r] * at[c]).reduce((a, b) => a + b));
          }
          return [at[0] / at[3] * div.clientWidth / 2, -at[1] / at[3] * div.clientHeight / 2];
        })(arguments[0], arguments[1])""",
        plot,
        largest,
    )

    steps = itertools.count()

    def hovered(_driver: Any) -> str:
        labels = plot.find_elements(By.CSS_SELECTOR, ".hovertext")
        if labels:
            return labels[0].get_attribute("textContent") or ""
        at = (round(x) + next(steps) % 2, round(y))
        ActionChains(browser.driver).move_to_element_with_offset(plot, *at).perform()
        return ""

    # Time to draw before the pointer moves on.
    told = WebDriverWait(browser.driver, PATIENCE_S, poll_frequency=2).until(hovered)
    for fact in ("PDG 11", "process", "MeV deposited", "voxels", "this voxel 0."):
        assert fact in told
    assert browser.errors() == []


def test_a_gallery_turns_pages_and_shows_one(browser: Browser, shards: Path, tmp_path: Path):
    scene = particle_scene(shards, choice=Choice(count=14))
    write_page(scene, tmp_path / "gallery.html")
    browser.open(tmp_path / "gallery.html")
    names = [panel.clouds[0].name for panel in scene.panels]
    assert [t["name"] for t in browser.traces()] == names[:12]
    assert browser.text("page") == "page 1 of 2"
    browser.click("next")
    browser.wait()
    assert [t["name"] for t in browser.traces()] == names[12:]
    browser.choose("pick", scene.picks[3].name)
    assert [t["name"] for t in browser.traces()] == [names[3]]
    assert browser.errors() == []


def test_panels_turn_together_until_told_not_to(browser: Browser, shards: Path, tmp_path: Path):
    write_page(particle_scene(shards, choice=Choice(count=2)), tmp_path / "two.html")
    browser.open(tmp_path / "two.html")

    def turn(x: float) -> list[float]:
        """Turn the first panel as a drag does at its end, and tell where both look from."""
        return browser.driver.execute_async_script(  # type: ignore[no-any-return]
            """const [x, done] = arguments;
            const plots = [...document.querySelectorAll('.js-plotly-plot')];
            const eye = (plot) => plot._fullLayout.scene._scene.getCamera().eye.x;
            Plotly.relayout(plots[0], {'scene.camera': {eye: {x, y: 1, z: 1}}})
              .then(() => setTimeout(() => done(plots.map(eye)), 1500));""",
            x,
        )

    assert turn(0.5) == pytest.approx([0.5, 0.5], abs=1e-3)
    browser.click("linked")
    assert turn(2.0) == pytest.approx([2.0, 0.5], abs=1e-3)
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
    buttons = browser.ask(
        "[...document.querySelectorAll('.modebar-btn')].map((b) => b.dataset.title)"
    )
    assert len(buttons) == 5
    assert not [b for b in buttons if "cloud" in b.lower() or "plotly" in b.lower()]
