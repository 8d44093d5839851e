"""Runs the blocks of bash and Python of a page of the documentation, in order."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path

import pytest

from tests.sample import GEANT4

__all__ = ["blocks", "check_commands", "run_page"]


def blocks(page: Path) -> list[tuple[str, str]]:
    """Return language and text of each block that can be run, in order."""
    return re.findall(r"^```(bash|python)\n(.*?)^```$", page.read_text(), re.DOTALL | re.M)


def check_commands(page: Path) -> int:
    """Parse the options of every command of ours on a page; give how many there are.

    Variables of the shell stand for numbers, and every ``.txt`` for a file that is there.
    """
    commands = {entry.name: entry for entry in entry_points(group="console_scripts")}
    text = "\n".join(text for language, text in blocks(page) if language == "bash")
    count = 0
    for line in re.sub(r"\$\{?\w+\}?", "1", text.replace("\\\n", " ")).splitlines():
        name, *arguments = shlex.split(line, comments=True) or [""]
        if name.startswith(("pilarnet-", "clr-")) and name in commands:
            there = [os.devnull if word.endswith(".txt") else word for word in arguments]
            commands[name].load().make_context(name, there)
            count += 1
    return count


def run_page(page: Path, folder: Path, *, skip: str = "") -> None:
    """Run the blocks of a page in a folder beside ``data/``, but those in which `skip` is found.

    Like a reader's shell and notebook, later blocks have the variables of earlier ones.
    """
    scripts = Path(sys.executable).parent
    if not (scripts / "clr-eval").exists():
        pytest.skip("the commands are not installed beside this Python")
    environment = os.environ | {
        "PATH": f"{scripts}{os.pathsep}{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
    }
    (folder / "data").symlink_to(GEANT4.parents[1])
    variables, script = "", ""
    for language, text in blocks(page):
        if skip and re.search(skip, text):
            continue
        if language == "bash":
            _run(["bash", "-euc", variables + text], folder, environment)
            variables += "".join(re.findall(r"^\w+=\S+.*\n", text, re.M))
        else:
            script += text + "\n"
            _run([sys.executable, "-c", script], folder, environment)


def _run(command: list[str], folder: Path, environment: dict[str, str]) -> None:
    done = subprocess.run(
        command, cwd=folder, env=environment, text=True, capture_output=True, timeout=900
    )
    assert done.returncode == 0, f"{command[-1]}\n{done.stdout}\n{done.stderr}"
