"""What the tests of the training share."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.clr_train.batches import write_shards


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Shards of made-up particles: 605 to train on, 90 to validate, none to test."""
    return write_shards(tmp_path_factory.mktemp("stream") / "shards")
