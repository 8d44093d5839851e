"""The tutorial: every command and every block of Python in it, run in order in an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

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


def _blocks() -> list[tuple[str, str]]:
    """Give language and text of each block that can be run, in order."""
    found = re.findall(r"^```(bash|python)\n(.*?)^```$", TUTORIAL.read_text(), re.DOTALL | re.M)
    assert len(found) > 8
    return found


def test_the_tutorial_shows_every_command() -> None:
    commands = "\n".join(text for language, text in _blocks() if language == "bash")
    for command in LEFT:
        assert f"\n{command} " in commands


@pytest.mark.slow
def test_the_tutorial_runs(tmp_path: Path) -> None:
    scripts = Path(sys.executable).parent
    if not (scripts / "clr-eval").exists():
        pytest.skip("the commands are not installed beside this Python")
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "SAMPLE": str(SAMPLE),
        "OMP_NUM_THREADS": "1",
    }
    script = ""
    for language, text in _blocks():
        if language == "bash":
            # The sample is named by its path in the project, and this runs elsewhere.
            text = re.sub(r"^SAMPLE=.*\n", "", text, flags=re.M)
            _run(["bash", "-euc", text], tmp_path, environment)
        else:
            # Later blocks go on with the names of earlier ones, as a reader would.
            script += text + "\n"
            _run([sys.executable, "-c", script], tmp_path, environment)
    for files in LEFT.values():
        for name in files:
            assert (tmp_path / name).stat().st_size > 0, name


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=600
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
