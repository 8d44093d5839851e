"""What the tests of both packages share."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

# No example is timed: the machine may be busy.
settings.register_profile("plain", deadline=None, max_examples=40)
settings.load_profile("plain")

#: Larger LArCV files and what LArCV2 reads from them; beside the project where they are at hand.
SHARED = Path(__file__).parents[2] / "shared" / "data" / "larcv"


@pytest.fixture(scope="session")
def shared_larcv() -> Path:
    """Return the folder of the larger LArCV files, or skip the test."""
    if not SHARED.is_dir():
        pytest.skip("the larger test files are not here")
    return SHARED


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """Mount a file system of 1.5 MB, where that is allowed."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=1500k", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)  # a thread may still hold a file open


def pytest_configure() -> None:
    """Take Ctrl-C again where the tests run in the background of a script.

    A shell lets such a job ignore it, and all that it starts inherits this; some tests send it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
