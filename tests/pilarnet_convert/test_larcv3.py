"""LArCV3: what is read is what was written, by h5py in its layout and by larcv itself."""

from __future__ import annotations

import itertools
import json
import re
import shutil
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.hdf5.larcv3 import index_larcv3
from pilarnet_convert.readers.kinds import reader_of
from pilarnet_convert.readers.products import Products
from tests.conftest import SHARED
from tests.pilarnet_convert.larcv3_files import (
    GRID,
    ORIGIN_CM,
    SIZE_CM,
    Event,
    random_events,
    write_larcv3,
)
from tests.pilarnet_convert.outputs import read_particles, run_convert

REAL = SHARED.parent / "real"


def read(path: Path, start: int = 0, stop: int | None = None) -> Events:
    source = index_larcv3(path.name, path)
    with source.open() as reader:
        events = reader.read(start, source.num_entries if stop is None else stop)
    check_events(events)
    return events


def voxels_of(events: Events, cluster: int, grid: tuple[int, ...]) -> tuple[Any, Any]:
    nx, ny, _ = grid
    rows = slice(*events.voxel_offset[cluster : cluster + 2])
    voxel_id = events.voxel_id[rows]
    xyz = np.stack([voxel_id % nx, voxel_id // nx % ny, voxel_id // (nx * ny)], axis=1)
    return xyz, events.energy[rows]


def check_events_are(events: Events, made: list[Event]) -> None:
    assert events.event.tolist() == [100 + events.first_entry + i for i in range(len(made))]
    assert events.run.tolist() == [1] * len(made)
    for entry, event in enumerate(made):
        clusters = range(*events.cluster_offset[entry : entry + 2])
        particles = range(*events.particle_offset[entry : entry + 2])
        for cluster, (xyz, values) in zip(clusters, event.clusters, strict=True):
            ours, energy = voxels_of(events, cluster, GRID)
            assert np.array_equal(ours, xyz)
            assert energy.tobytes() == values.tobytes()
        for number, row in zip(particles, event.particles, strict=True):
            assert events.pdg[number] == row["pdg"]
            assert events.energy_init[number] == np.float32(row["energy_init"])
            assert events.energy_deposit[number] == np.float32(row["energy_deposit"])
            assert events.momentum[number].tolist() == [np.float32(row[f"p{a}"]) for a in "xyz"]
            for ours, theirs in (("start", "first_step"), ("end", "last_step")):
                found = getattr(events, ours)[number].tolist()
                assert found == [np.float32(row[theirs][axis]) for axis in "xyz"]
            assert events.process_names[events.process[number]] == row["process"].decode()
            assert events.track_id[number] == row["trackid"]
            assert events.parent_track_id[number] == row["parent_trackid"]
        if not event.clusters:
            continue
        assert events.grid[entry].tolist() == list(GRID)
        assert events.origin[entry].tolist() == list(ORIGIN_CM)
        size = [a / b for a, b in zip(SIZE_CM, GRID, strict=True)]
        assert events.voxel_size[entry].tolist() == size


@pytest.mark.parametrize("how", ["plain", "gzip", "blosc"])
def test_what_was_written(tmp_path: Path, how: str):
    options: dict[str, Any] = {"gzip": {"compression": "gzip"}}.get(how, {})
    if how == "blosc":
        options = dict(pytest.importorskip("hdf5plugin").Blosc(cname="zstd"))
    made = random_events(1)
    path = write_larcv3(tmp_path / "a.h5", made, **options)
    check_events_are(read(path), made)
    for start, stop in [(0, 1), (1, 3), (2, 3), (4, 4), (3, 7)]:
        check_events_are(read(path, start, stop), made[start:stop])


@pytest.mark.parametrize("bytes_before", [512, 4096])
def test_a_user_block(tmp_path: Path, bytes_before: int):
    """HDF5 allows other contents before its own."""
    path = write_larcv3(tmp_path / "a.h5", random_events(1))
    with (
        h5py.File(path) as source,
        h5py.File(tmp_path / "b.h5", "w", userblock_size=bytes_before) as target,
    ):
        for name in source:
            source.copy(name, target)
    assert reader_of(tmp_path / "b.h5") == "larcv3"
    check_events_are(read(tmp_path / "b.h5"), random_events(1))


def test_a_file_that_is_being_written(tmp_path: Path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w", libver="latest") as file:
        file.swmr_mode = True
        copy = shutil.copy(path, tmp_path / "b.h5")
    with pytest.raises(InputError, match=r"open for write.*; wait until it is written"):
        index_larcv3("b", copy)


def test_an_event_that_was_never_set(tmp_path: Path):
    made = random_events(1)
    path = write_larcv3(tmp_path / "a.h5", made, skip_empty=True)
    check_events_are(read(path), made)
    for start, stop in [(0, 3), (2, 3), (2, 5)]:
        check_events_are(read(path, start, stop), made[start:stop])


def test_a_file_in_which_nothing_was_set(tmp_path: Path):
    path = write_larcv3(tmp_path / "a.h5", random_events(1))
    with h5py.File(path, "r+") as file:
        for product in ("cluster3d", "particle"):
            group = file[f"Data/{product}_mcst_group"]
            group["extents"][:] = np.zeros(7, group["extents"].dtype)
            for table in group.keys() - {"extents"}:
                group[table].resize(0, axis=0)
    events = read(path)
    assert (events.num_events, events.num_clusters, len(events.pdg)) == (7, 0, 0)


def test_rows_in_any_order(tmp_path: Path):
    """Tables point into each other; they need not be in order, as larcv writes them."""
    made = random_events(2)
    path = write_larcv3(tmp_path / "a.h5", made)
    with h5py.File(path, "r+") as file:
        group = file["Data/cluster3d_mcst_group"]
        clusters, voxels = group["cluster_extents"][:], group["voxels"][:]
        parts = [voxels[int(c["first"]) : int(c["first"]) + int(c["N"])] for c in clusters]
        order = np.random.default_rng(0).permutation(len(clusters))
        sizes = [len(parts[i]) for i in order]
        clusters["first"][order] = np.cumsum([0, *sizes])[:-1]
        group["voxels"][:] = np.concatenate([parts[i] for i in order])
        group["cluster_extents"][:] = clusters
    check_events_are(read(path), made)


def test_numbers_that_are_not_known(tmp_path: Path):
    made = random_events(1)
    made[0].particles["parent_trackid"][0] = 2**32 - 1
    made[0].particles["energy_deposit"][0] = np.finfo(np.float64).max
    made[0].particles["first_step"]["y"][0] = np.finfo(np.float32).max
    events = read(write_larcv3(tmp_path / "a.h5", made))
    assert events.parent_track_id[0] == -1
    assert np.isnan(events.energy_deposit[0])
    assert np.isnan(events.start[0]).tolist() == [False, True, False]
    assert np.isnan(events.energy_deposit).sum() == 1


def test_older_files_lack_fields(tmp_path: Path):
    path = write_larcv3(tmp_path / "a.h5", random_events(1))
    with h5py.File(path, "r+") as file:
        group = file["Data/particle_mcst_group"]
        rows = group["particles"][:]
        kept = np.zeros(len(rows), [("pdg", "<i4"), ("energy_init", "<f8")])
        for name in kept.dtype.names:
            kept[name] = rows[name]
        del group["particles"]
        group["particles"] = kept
        ids = file["Events/event_id"][:].astype([(n, "<u8") for n in ("run", "subrun", "event")])
        del file["Events/event_id"]
        file["Events/event_id"] = ids
    events = read(path)
    assert events.event.tolist() == list(range(100, 107))
    assert np.isnan(events.momentum).all()
    assert np.isnan(events.start).all()
    assert set(events.parent_track_id.tolist()) == {-1}
    assert events.process_names == ("",)


def test_several_projections_are_refused(tmp_path: Path):
    path = write_larcv3(tmp_path / "a.h5", random_events(1), projections=2)
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    place = f"error: {path}: entry 0: cluster3d_mcst_group/extents: "
    assert line.startswith(f"{place}an event has several projections (expected one, found 2)")


@pytest.mark.parametrize(
    ("table", "field", "value", "says"),
    [
        ("cluster_extents", "N", 10_000, "cluster3d_mcst_group/voxels: the file is damaged here"),
        ("extents", "first", 2**63, "cluster3d_mcst_group/projection_extents: the file is damag"),
        ("voxels", "id", 20 * 30 * 40, "cluster3d_mcst: a voxel lies outside its cube"),
        ("voxels", "value", np.nan, "cluster3d_mcst: a voxel has no finite energy"),
    ],
)
def test_damage_is_named(tmp_path: Path, table: str, field: str, value: Any, says: str):
    path = write_larcv3(tmp_path / "a.h5", random_events(1))
    with h5py.File(path, "r+") as file:
        rows = file[f"Data/cluster3d_mcst_group/{table}"][:]
        rows[field][0] = value
        file[f"Data/cluster3d_mcst_group/{table}"][:] = rows
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {path}: entry 0: {says}")


@pytest.mark.parametrize(
    "table",
    ["Events/event_id", *(f"Data/cluster3d_mcst_group/{t}" for t in ("extents", "image_meta"))]
    + [f"Data/particle_mcst_group/{t}" for t in ("extents", "particles")],
)
def test_other_things_in_the_place_of_tables(tmp_path: Path, table: str):
    path = write_larcv3(tmp_path / "a.h5", random_events(1))
    for other in (np.zeros(7), np.float32(1), np.zeros((1, 7)), np.full(7, b"text"), None):
        with h5py.File(path, "r+") as file:
            del file[table]
            if other is None:
                file.create_group(table)
            else:
                file[table] = other
        with pytest.raises(InputError, match=re.escape(str(path))):
            read(path)


def test_products(tmp_path: Path):
    made = random_events(1)
    path = write_larcv3(tmp_path / "a.h5", made, names=("a", "b"))
    with pytest.raises(InputError, match="several pairs of products") as error:
        index_larcv3("a", path)
    assert "cluster3d_a,particle_a, cluster3d_b,particle_b" in str(error.value)
    source = index_larcv3("a", path, products=Products("cluster3d_b", "particle_a"))
    assert source.schema == "LArCV3, cluster3d_b and particle_a"
    with source.open() as reader:
        check_events_are(reader.read(0, 7), made)
    names = ("sed", "pcluster", "other")
    source = index_larcv3("a", write_larcv3(tmp_path / "b.h5", made, names=names))
    assert source.products == ("cluster3d_pcluster", "particle_pcluster")
    with pytest.raises(InputError, match="cluster3d_mcst_group: a product is missing"):
        index_larcv3("a", path, products=Products("cluster3d_mcst", "particle_a"))


def test_what_larcv_wrote(tmp_path: Path):
    """The file was written by larcv 3.5.1; a file beside it lists what was written."""
    path = REAL / "toy_larcv3.h5"
    if not path.exists():
        pytest.skip("the real files are not here")
    wanted = json.loads(path.with_suffix(".h5.json").read_text())
    events = read(path)
    assert events.grid[0].tolist() == [64, 48, 32]
    assert np.allclose(events.voxel_size[0], 0.3)
    clusters = iter(range(events.num_clusters))
    for entry, event in enumerate(wanted):
        for (pdg, xyz, values), cluster in zip(event, clusters, strict=False):
            ours, energy = voxels_of(events, cluster, (64, 48, 32))
            found = {tuple(voxel): value for voxel, value in zip(ours, energy, strict=True)}
            assert found == dict(zip(map(tuple, xyz), map(np.float32, values), strict=True))
            particle = events.particle_offset[entry] + cluster - events.cluster_offset[entry]
            assert events.pdg[particle] == pdg
        next(clusters)  # the last, without a particle
    assert events.event.tolist() == [100, 101, 102, 103]
    out = tmp_path / "out"
    arguments = ("--input", path, "--out", out, "--workers", 1, "--min-voxels", 1)
    assert run_convert(*arguments).exit_code == 0
    found = sorted((p["entry"], p["cluster"]) for p in read_particles(out))
    labels = {11, 13, 2212, 22, 211}
    assert found == [
        (entry, number)
        for entry, event in enumerate(wanted)
        for number, (pdg, _, values) in enumerate(event)
        if abs(pdg) in labels and values
    ]


def test_a_real_file_without_clusters_in_3d(tmp_path: Path):
    path = REAL / "cosmic_tagging_light.h5"
    if not path.exists():
        pytest.skip("the real files are not here")
    link = shutil.copy(path, tmp_path / "a.h5")
    result = run_convert("--input", link, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    place = f"error: {link}: cluster3d_sbndneutrino_group: a product is missing (found "
    assert line.startswith(place)
    assert "cluster2d_sbndsegmerged_group" in line
    assert "files with clusters of particles in 3D" in line


def test_ids_of_any_grid():
    """Both numberings name each voxel of a box with unequal sides exactly once."""
    from pilarnet_convert.readers.hdf5.larcv3 import _x_fastest

    grid = (3, 4, 5)
    ids = np.arange(60, dtype=np.uint64)
    found = _x_fastest(ids, np.array([grid]), np.array([60])).tolist()
    xyz = itertools.product(*map(range, grid))
    assert found == [(z * 4 + y) * 3 + x for x, y, z in xyz]
