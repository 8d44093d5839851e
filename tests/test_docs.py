"""The documentation's pages: they are all reached, and the reference leaves nothing public out."""

from __future__ import annotations

import importlib
import re
from importlib.metadata import entry_points
from pathlib import Path

import pytest

DOCS = Path(__file__).parents[1] / "docs"
PACKAGES = ("pilarnet_convert", "clr_train", "clr_eval", "pilarnet_view")


@pytest.mark.parametrize("package", PACKAGES)
def test_the_reference_of_python_has_every_public_name(package: str) -> None:
    described = set()
    for path in re.findall(r"^::: (\S+)$", (DOCS / "api.md").read_text(), re.M):
        module, _, name = path.rpartition(".")
        described.add(getattr(importlib.import_module(module), name))
    module = importlib.import_module(package)
    public = {name: getattr(module, name) for name in module.__all__ if name != "__version__"}
    assert public
    assert [name for name, value in public.items() if value not in described] == []


def test_the_reference_of_commands_has_every_command() -> None:
    described = re.findall(r"\{\{ help:(\S+) \}\}", (DOCS / "commands.md").read_text())
    commands = {
        each.name
        for each in entry_points(group="console_scripts")
        if each.module.partition(".")[0] in PACKAGES
    }
    assert len(commands) >= 10
    assert sorted(described) == sorted(commands)


def test_every_page_is_in_the_navigation() -> None:
    navigation = (DOCS.parent / "mkdocs.yml").read_text()
    listed = re.findall(r"^ +- [^:\n]+: (\S+\.md)$", navigation, re.M)
    assert sorted(listed) == sorted(str(page.relative_to(DOCS)) for page in DOCS.rglob("*.md"))
