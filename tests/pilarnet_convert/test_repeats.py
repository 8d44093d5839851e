"""Voxels that a file lists several times in a particle are merged, and counted."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.readers.repeats import merge_repeats
from tests.conftest import SHARED
from tests.pilarnet_convert.outputs import read_particles, run_convert, run_stats
from tests.pilarnet_convert.test_particles import columns_of

REAL = SHARED.parent / "real" / "example_larcv.root"

voxels = st.lists(st.integers(0, 30), max_size=12)
#: Events: the voxels of each particle, and those of the cluster without a particle.
events = st.lists(
    st.tuples(st.lists(voxels, max_size=4), st.none() | voxels), min_size=1, max_size=4
)


@given(events, st.booleans())
def test_a_voxel_occurs_once_in_a_particle(made: list[Any], ascending: bool):
    arrange = sorted if ascending else list
    made = [
        ([((11, 1, 1), arrange(v)) for v in clusters], rest and list(rest))
        for clusters, rest in made
    ]
    before = columns_of(made, [(5, 6, 7)] * len(made))
    after, num_merged = merge_repeats(before)
    assert after.cluster_offset.tolist() == before.cluster_offset.tolist()
    cluster = 0
    for clusters, rest in made:
        for number in range(len(clusters) + (rest is not None)):
            old, new = (slice(*e.voxel_offset[cluster : cluster + 2]) for e in (before, after))
            ids, energies = before.voxel_id[old].tolist(), before.energy[old].tolist()
            sums: dict[int, float] = {}  # in the order of their first rows
            for voxel, energy in zip(ids, energies, strict=True):
                sums[voxel] = sums.get(voxel, 0.0) + energy
            if number == len(clusters):  # it has no particle
                assert after.voxel_id[new].tolist() == ids
            else:
                assert after.voxel_id[new].tolist() == list(sums)
                assert after.energy[new].tolist() == list(sums.values())
            cluster += 1
    assert num_merged == len(before.energy) - len(after.energy)


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not here")
def test_a_real_file(tmp_path: Path):
    """It has the rows that LArCV2 reads; each voxel of a particle occurs once, with their sum."""
    out = tmp_path / "out"
    result = run_convert("--input", REAL, "--out", out, "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    with REAL.with_suffix(".csv").open() as stream:
        rows = {(int(r["entry"]), int(r["cluster"])): r for r in csv.DictReader(stream)}
    particles = read_particles(out)
    distinct = {}
    for particle in particles:
        row = rows[particle["entry"], particle["cluster"]]
        xyz = np.stack([particle[axis] for axis in "xyz"], axis=1)
        assert len(np.unique(xyz, axis=0)) == len(xyz)
        assert np.isclose(particle["energy"].sum(dtype=float), float(row["sum_energy"]), rtol=1e-5)
        assert particle["pdg"] == int(row["pdg"])
        assert particle["energy_init"] == np.float32(row["energy_init"])
        distinct[particle["entry"]] = len(xyz)
        for axis, size in zip("xyz", (172, 89, 154), strict=True):
            assert particle[axis].max() < size
    assert distinct[0] == 25  # in 359 rows
    root = json.loads((out / "zarr.json").read_text())["attributes"]
    (geometry,) = root["geometry"]
    assert geometry["voxels"] == [172, 89, 154]
    assert np.allclose(geometry["voxel_size_cm"], 1.0, atol=0.01)
    merged = root["statistics"]["repeated_voxels"]
    kept = {(p["entry"], p["cluster"]) for p in particles}
    rest = sum(int(r["n_voxels"]) for key, r in rows.items() if r["pdg"] and key not in kept)
    total = sum(int(r["n_voxels"]) for r in rows.values() if r["pdg"])
    assert total - rest - sum(distinct.values()) <= merged <= total - sum(distinct.values())
    assert f"repeated voxels merged: {merged:,}" in run_stats(out).stdout


def test_a_file_without_repeats_says_nothing(tmp_path: Path):
    from tests.sample import SAMPLE

    result = run_convert("--input", SAMPLE, "--out", tmp_path / "out", "--workers", 1)
    assert "repeated" not in result.stdout
