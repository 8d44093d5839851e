"""The typical numbers are those of the bundled sample."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from clr_eval.embedding.split import read_split
from clr_train.network.box_counting import soft_sizes
from clr_train.network.shape import shape_numbers
from clr_train.network.typical import standardised
from clr_train.views.make import as_sites
from pilarnet_convert import convert
from tests.sample import GEANT4


@pytest.mark.slow
def test_numbers_of_the_sample_have_mean_0_and_deviation_1(tmp_path: Path) -> None:
    convert(GEANT4, tmp_path / "shards")
    batch = read_split(tmp_path / "shards", split="train").batch
    sites = as_sites(batch, energy_transform="log")
    numbers = standardised(torch.cat([soft_sizes(sites), shape_numbers(sites)], dim=1))
    # The constants are rounded to 0.005, which the smallest deviation, 0.07, magnifies.
    assert float(numbers.mean(dim=0).abs().max()) < 0.08
    torch.testing.assert_close(numbers.std(dim=0), torch.ones(45), rtol=0.08, atol=0.0)
