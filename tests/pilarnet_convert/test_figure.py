"""A particle as a plotly figure: its voxels, its energies, and what is said without plotly."""

from __future__ import annotations

import sys

import numpy as np
import pytest

from pilarnet_convert.errors import MissingDependencyError
from pilarnet_convert.shards.particle import Particle


def _particle() -> Particle:
    return Particle(
        split="test",
        index=7,
        xyz=np.array([[1, 2, 3], [4, 5, 6]], np.int32),
        energy=np.array([0.5, 20.0], np.float32),
        columns={"label": np.int8(1), "pdg": np.int32(2212)},
    )


def test_every_voxel_at_its_place_and_with_its_energy():
    figure = _particle().show()
    (voxels,) = figure.data
    assert np.stack([voxels.x, voxels.y, voxels.z], axis=1).tolist() == [[1, 2, 3], [4, 5, 6]]
    assert list(voxels.customdata) == [0.5, 20.0]
    colour = np.asarray(voxels.marker.color)
    # Colours end at the 2nd percentile and at the largest energy.
    low = np.percentile([0.5, 20.0], 2)
    assert np.allclose(10**colour, [low, 20.0])
    assert np.allclose([voxels.marker.cmin, voxels.marker.cmax], np.log10([low, 20.0]))
    assert figure.layout.title.text == "test 7: proton, 2 voxels, 20.5 MeV"
    assert figure.layout.scene.aspectmode == "data"  # a voxel is a cube


def test_without_plotly(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "plotly", None)
    with pytest.raises(MissingDependencyError, match="plotly, which is not installed; pip install"):
        _particle().show()
