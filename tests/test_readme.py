"""The README: its Python, pasted into a script, and the pictures and pages that it names."""

from __future__ import annotations

import os
import pkgutil
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.pages import check_commands, run_page

ROOT = Path(__file__).parents[1]
README = ROOT / "README.md"
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "data/README.md",
    "docker/README.md",
    *(f"docs/{p.name}" for p in sorted(ROOT.glob("docs/*.md"))),
]


def test_its_python_runs_as_a_script(tmp_path: Path) -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", README.read_text(), re.DOTALL | re.M)
    assert blocks
    (tmp_path / "data").symlink_to(ROOT / "data")
    for number, block in enumerate(blocks):
        script = tmp_path / f"block{number}.py"
        script.write_text(block)
        done = subprocess.run(
            [sys.executable, str(script)],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, "")
    assert (tmp_path / "shards" / "zarr.json").is_file()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_page_links_to_is_there(page: str) -> None:
    path = ROOT / page
    links = re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", path.read_text())
    for link in links:
        if not link.startswith("http"):
            assert (path.parent / link).exists(), link


@pytest.mark.parametrize("page", PAGES)
def test_the_modules_and_files_that_a_page_names_exist(page: str) -> None:
    text = (ROOT / page).read_text()
    for path in re.findall(r"`((?:pilarnet|clr|tests|tools|docs|docker)\w*/[\w./-]*)`", text):
        assert (ROOT / path).exists(), path
    for name in re.findall(r"`((?:pilarnet_convert|clr_\w+|pilarnet_view)\.[\w.]+)`", text):
        pkgutil.resolve_name(name)


@pytest.mark.parametrize("page", PAGES)
def test_the_options_of_its_commands_exist(page: str) -> None:
    check_commands(ROOT / page)


@pytest.mark.slow
def test_its_commands_run_in_order(tmp_path: Path) -> None:
    assert check_commands(README) >= 6
    run_page(README, tmp_path, skip="make |pip install")
    for name in ("classes.png", "muons.html", "runs/first/config.toml", "test.npz", "report"):
        assert (tmp_path / name).exists(), name
