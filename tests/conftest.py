"""What the tests of both packages share."""

from __future__ import annotations

import signal
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
    """Give the folder of the larger LArCV files, or skip the test."""
    if not SHARED.is_dir():
        pytest.skip("the larger test files are not here")
    return SHARED


def pytest_configure() -> None:
    """Take Ctrl-C again where the tests run in the background of a script.

    A shell lets such a job ignore it, and all that it starts inherits this; some tests send it.
    """
    signal.signal(signal.SIGINT, signal.default_int_handler)
