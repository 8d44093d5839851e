"""The tutorial: every command and every block of Python in it, run in order, beside ``data/``."""

from __future__ import annotations

from pathlib import Path

import pytest

from pilarnet_convert import open_shards
from tests.pages import blocks, run_page
from tests.sample import SAMPLE

TUTORIAL = Path(__file__).parents[1] / "docs" / "tutorial.md"
#: What the steps leave behind, by the command that makes it.
LEFT = {
    "pilarnet-view": ("event.html", "views.html"),
    "pilarnet-convert": ("shards/zarr.json",),
    "pilarnet-stats": ("shards.png",),
    "clr-train": ("runs/tour/config.toml", "runs/tour/checkpoints/best.pt"),
    "clr-embed": ("test.npz",),
    "clr-eval": ("report/report.md", "report/report.json", "report/robustness.png"),
}


def test_the_tutorial_shows_every_command() -> None:
    commands = "\n".join(text for language, text in blocks(TUTORIAL) if language == "bash")
    for command in LEFT:
        assert f"\n{command} " in commands


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    run_page(TUTORIAL, tmp_path)
    shards = open_shards(tmp_path / "shards")
    assert [Path(source["name"]).name for source in shards.attributes["sources"]] == [SAMPLE.name]
    assert f"{shards.attributes['statistics']['events']} simulated" in TUTORIAL.read_text()
    assert f"{len(shards)} particles" in TUTORIAL.read_text()
    for files in LEFT.values():
        for name in files:
            assert (tmp_path / name).stat().st_size > 0, name
