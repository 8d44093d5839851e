"""The documentation's pages: they are all reached, and the reference leaves nothing public out."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from importlib.metadata import entry_points
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PACKAGES = ("pilarnet_convert", "clr_train", "clr_eval", "pilarnet_view")


def shown(package: str) -> dict[str, object]:
    """Return what the reference describes under the heading of a package, by its full path."""
    (section,) = re.findall(
        rf"^## {package}\n(.*?)(?=^## |\Z)", (DOCS / "api.md").read_text(), re.M | re.DOTALL
    )
    entries = re.findall(r"^::: (\S+)\n((?: +\S.*\n)*)", section, re.M)
    assert len(entries) == section.count(":::")
    found = {}
    for path, options in entries:
        module, _, name = path.rpartition(".")
        # A heading without a path is read as a name that the package exports.
        assert module == package or "show_root_full_path: true" in options, path
        found[path] = getattr(importlib.import_module(module), name)
    return found


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_of_python_has_every_public_name(package: str) -> None:
    described = shown(package)
    public = set(importlib.import_module(package).__all__) - {"__version__"}
    assert {f"{package}.{name}" for name in public} <= described.keys()
    assert all(callable(value) for value in described.values())


def test_the_reference_of_commands_has_every_command() -> None:
    described = re.findall(r"\{\{ help:(\S+) \}\}", (DOCS / "commands.md").read_text())
    commands = {
        each.name
        for each in entry_points(group="console_scripts")
        if each.module.partition(".")[0] in PACKAGES
    }
    assert len(commands) >= 10
    assert sorted(described) == sorted(commands)


@pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")
def test_make_lists_every_target() -> None:
    makefile = (DOCS.parent / "Makefile").read_text()
    (targets,) = re.findall(r"^\.PHONY: (.*)$", makefile, re.M)
    done = subprocess.run(
        ["make", "-C", DOCS.parent, "--no-print-directory", "help"],
        text=True,
        capture_output=True,
        check=True,
    )
    assert sorted(line.split()[0] for line in done.stdout.splitlines()) == sorted(targets.split())


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text()
    listed = re.findall(r"^ +- [^:\n]+: (\S+\.md)$", navigation, re.M)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
