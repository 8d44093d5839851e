"""What comes out is what LArCV2 itself reads, bit for bit."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.larcv2 import Larcv2Reader, index_larcv2
from pilarnet_convert.readers.sources import find_sources
from tests import damage
from tests.pilarnet_convert.inputs import BUNDLED, LARGER, MODERN, SPLIT, Example, expected_rows
from tests.pilarnet_convert.outputs import read_particles, run_convert
from tests.sample import SAMPLE

LABELS = {11: 0, -11: 0, 2212: 1, 22: 2, 13: 3, -13: 3, 211: 4, -211: 4}
examples = pytest.mark.parametrize(
    "example",
    [
        *BUNDLED,
        *(
            pytest.param(
                e, marks=pytest.mark.skipif(not e.file.exists(), reason="the file is not here")
            )
            for e in LARGER
        ),
    ],
    ids=lambda e: e.id,
)


def digest(x: Any, y: Any, z: Any, energy: Any) -> str:
    xyz = np.stack([x, y, z], axis=1).astype("<i4")
    return hashlib.sha1(xyz.tobytes() + energy.astype("<f4").tobytes()).hexdigest()


def same_number(ours: Any, theirs: str) -> bool:
    """Compare with a number in double precision, which a shard stores as float32."""
    return bool(np.float32(ours) == np.float32(float(theirs)))


def read_all(path: Path) -> Events:
    (source,) = find_sources([path])
    index = index_larcv2(source.name, source.files)
    with Larcv2Reader(index) as reader:
        return reader.read(0, index.num_entries)


@examples
def test_every_cluster_of_the_columns(example: Example):
    columns = read_all(example.file)
    rows = expected_rows(example.table)
    assert columns.num_clusters == len(rows)
    event = np.repeat(np.arange(columns.num_events), np.diff(columns.cluster_offset))
    for number, row in enumerate(rows):
        entry = event[number]
        cluster = number - columns.cluster_offset[entry]
        assert (entry, cluster) == (int(row["entry"]), int(row["cluster"]))
        ids = (columns.run[entry], columns.subrun[entry], columns.event[entry])
        assert ids == (int(row["run"]), int(row["subrun"]), int(row["event"]))
        voxels = slice(columns.voxel_offset[number], columns.voxel_offset[number + 1])
        nx, ny, _ = columns.grid[entry]
        voxel_id, energy = columns.voxel_id[voxels], columns.energy[voxels]
        xyz = voxel_id % nx, voxel_id // nx % ny, voxel_id // (nx * ny)
        assert len(energy) == int(row["n_voxels"])
        assert digest(*xyz, energy) == row["sha1_xyz_int32_energy_float32"]
        particle = columns.particle_offset[entry] + cluster
        assert (particle < columns.particle_offset[entry + 1]) == bool(row["pdg"])
        if row["pdg"]:
            assert columns.pdg[particle] == int(row["pdg"])
            assert columns.process_names[columns.process[particle]] == row["process"]
            assert columns.track_id[particle] == int(row["track_id"])
            assert columns.parent_track_id[particle] == int(row["parent_track_id"])
            assert same_number(columns.energy_init[particle], row["energy_init"])
            assert same_number(columns.energy_deposit[particle], row["energy_deposit"])
            assert same_number(columns.momentum[particle, 0], row["px"])
            assert same_number(columns.start[particle, 0], row["first_step_x"])


@examples
def test_every_particle_of_the_shards(example: Example, tmp_path: Path):
    out = tmp_path / "shards"
    result = run_convert(
        *("--input", example.file, "--out", out, "--min-voxels", 1, "--workers", 1)
    )
    assert (result.exit_code, result.stderr) == (0, "")
    found = {(p["entry"], p["cluster"]): p for p in read_particles(out)}
    rows = expected_rows(example.table)
    wanted = {
        (int(row["entry"]), int(row["cluster"])): row
        for row in rows
        if row["pdg"] and int(row["pdg"]) in LABELS and int(row["n_voxels"]) >= 1
    }
    assert found.keys() == wanted.keys()
    for key, row in wanted.items():
        particle = found[key]
        assert len(particle["energy"]) == int(row["n_voxels"])
        xyze = [particle[name] for name in ("x", "y", "z", "energy")]
        assert digest(*xyze) == row["sha1_xyz_int32_energy_float32"]
        assert np.isclose(
            particle["energy"].sum(dtype=np.float64), float(row["sum_energy"]), rtol=1e-12
        )
        assert particle["label"] == LABELS[int(row["pdg"])]
        assert particle["process"] == row["process"]
        for name in ("run", "subrun", "event", "pdg", "track_id", "parent_track_id"):
            assert particle[name] == int(row[name])
        for name in ("energy_init", "energy_deposit"):
            assert same_number(particle[name], row[name])
        assert same_number(particle["momentum"][0], row["px"])
        assert same_number(particle["start"][0], row["first_step_x"])


@pytest.mark.parametrize("path", [SAMPLE, MODERN, SPLIT], ids=lambda path: path.name)
def test_any_range_is_a_part_of_the_whole(path: Path):
    (files,) = find_sources([path])
    index = index_larcv2(files.name, files.files)
    whole = read_all(path)
    with Larcv2Reader(index) as reader:
        for start, stop in [(0, 1), (4, 11), (3, 3), (10, index.num_entries), (2, 5)]:
            part = reader.read(start, stop)
            assert part.event.tolist() == whole.event[start:stop].tolist()
            clusters = whole.cluster_offset[start : stop + 1]
            voxels = whole.voxel_offset[clusters[0] : clusters[-1] + 1]
            particles = whole.particle_offset[start : stop + 1]
            assert part.cluster_offset.tolist() == (clusters - clusters[0]).tolist()
            assert part.voxel_offset.tolist() == (voxels - voxels[0]).tolist()
            assert part.voxel_id.tolist() == whole.voxel_id[voxels[0] : voxels[-1]].tolist()
            assert part.energy.tolist() == whole.energy[voxels[0] : voxels[-1]].tolist()
            assert part.pdg.tolist() == whole.pdg[particles[0] : particles[-1]].tolist()
            theirs = [whole.process_names[code] for code in whole.process]
            ours = [part.process_names[code] for code in part.process]
            assert ours == theirs[particles[0] : particles[-1]]


def test_object_wise_voxels_read_the_same(tmp_path: Path):
    path = damage.object_wise(SAMPLE, tmp_path / SAMPLE.name)
    ours, theirs = read_all(path), read_all(SAMPLE)
    for name in ("cluster_offset", "voxel_offset", "voxel_id", "energy", "pdg", "momentum"):
        assert getattr(ours, name).tolist() == getattr(theirs, name).tolist()
    for file in (path, SAMPLE):
        out = tmp_path / file.parent.name
        assert run_convert("--input", file, "--out", out, "--workers", 1).exit_code == 0
    for ours, theirs in zip(
        read_particles(tmp_path / path.parent.name),
        read_particles(tmp_path / SAMPLE.parent.name),
        strict=True,
    ):
        assert all(np.array_equal(ours[name], theirs[name]) for name in theirs)


def test_voxels_keep_the_order_of_the_file(tmp_path: Path):
    path = damage.with_unsorted_voxels(SAMPLE, tmp_path / "a.root", entry=6, cluster=2)
    ours, theirs = read_all(path), read_all(SAMPLE)
    cluster = theirs.cluster_offset[6] + 2
    voxels = slice(theirs.voxel_offset[cluster], theirs.voxel_offset[cluster + 1])
    assert ours.voxel_id[voxels].tolist() == theirs.voxel_id[voxels][::-1].tolist()
    assert ours.energy[voxels].tolist() == theirs.energy[voxels][::-1].tolist()
