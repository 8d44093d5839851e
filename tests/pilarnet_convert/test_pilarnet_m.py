"""PILArNet-M, in all revisions and both kinds: what is read is what a plain loop reads."""

from __future__ import annotations

import dataclasses
import itertools
import math
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.pilarnet_m.source import index_pilarnet_m
from tests.conftest import SHARED
from tests.pilarnet_convert.outputs import read_particles, run_convert
from tests.pilarnet_convert.pilarnet_m_files import (
    REVISIONS,
    Event,
    Particle,
    random_events,
    rows_of,
    write_hdf5,
    write_parquet,
)

REAL = SHARED.parent / "real" / "pilarnet_m_event.npz"
PDG = {0: 22, 1: 11, 2: 13, 3: 211, 4: 2212, 5: 321}


def read(path: Path, *ranges: tuple[int, int]) -> list[Events]:
    source = index_pilarnet_m(path.name, path)
    with source.open() as reader:
        found = [reader.read(*of) for of in ranges or [(0, source.num_entries)]]
    for events in found:
        check_events(events)
    return found


def float32(value: float) -> bytes:
    return np.float32(value).tobytes()


def check_particle(events: Events, number: int, cluster: int, wanted: Particle) -> None:
    rows = slice(*events.voxel_offset[cluster : cluster + 2])
    voxel_id = events.voxel_id[rows]
    xyz = [voxel_id % 768, voxel_id // 768 % 768, voxel_id // 768**2]
    assert np.array_equal(np.stack(xyz, axis=1), wanted.voxels[:, :3])
    assert events.energy[rows].tobytes() == wanted.voxels[:, 3].tobytes()
    assert events.energy_deposit[number].tobytes() == float32(wanted.deposit)
    assert events.pdg[number] == PDG[wanted.pid]
    mass, momentum, *vertex = wanted.truth[:5].tolist()
    energy = math.hypot(mass, momentum * 1000) if mass >= 0 and momentum >= 0 else math.nan
    assert events.energy_init[number].tobytes() == float32(energy)
    start = [v * 0.3 for v in vertex] if vertex != [-1, -1, -1] else [math.nan] * 3
    assert events.start[number].tobytes() == np.array(start, np.float32).tobytes()
    more = [*wanted.truth[6:].tolist(), *[-1] * 5][:5]
    vector = [v * 1000 for v in more[:3]] if more[:3] != [-1, -1, -1] else [math.nan] * 3
    assert events.momentum[number].tobytes() == np.array(vector, np.float32).tobytes()
    assert events.parent_track_id[number] == more[4]
    assert events.primary is not None
    assert events.primary[number] == (len(wanted.truth) > 5 and wanted.truth[5] == 1)


@pytest.mark.parametrize("revision", REVISIONS)
def test_every_particle_is_that_of_a_plain_loop(tmp_path: Path, revision: str):
    made = random_events(1)
    path = write_hdf5(tmp_path / "a.h5", made, revision=revision)
    (events,) = read(path)
    assert index_pilarnet_m("a", path).schema == f"PILArNet-M {revision}"
    assert events.num_events == len(made)
    assert events.event.tolist() == list(range(len(made)))
    for entry, wanted in enumerate(rows_of(path)):
        clusters = range(*events.cluster_offset[entry : entry + 2])
        particles = range(*events.particle_offset[entry : entry + 2])
        assert len(particles) == len(wanted)
        for number, cluster, particle in zip(particles, clusters, wanted, strict=False):
            check_particle(events, number, cluster, particle)
        # The rest of the voxels is the last cluster, which has no particle.
        held = sum(len(particle.voxels) for particle in wanted)
        voxels = events.voxel_offset[events.cluster_offset[entry : entry + 2]]
        assert voxels[1] - voxels[0] == len(made[entry].point)
        assert len(clusters) - len(particles) == (held < len(made[entry].point))
    assert set(events.pdg.tolist()) == set(PDG.values())


@pytest.mark.parametrize("revision", REVISIONS)
def test_parquet_is_the_same(tmp_path: Path, revision: str):
    made = random_events(2)
    hdf5 = write_hdf5(tmp_path / "a.h5", made, revision=revision)
    parquet = write_parquet(tmp_path / "a.parquet", made, revision=revision)
    ranges = [(0, 12), (0, 1), (3, 4), (4, 11), (7, 7), (9, 12)]
    for ours, theirs in zip(read(parquet, *ranges), read(hdf5, *ranges), strict=True):
        for field in dataclasses.fields(Events):
            values, others = getattr(ours, field.name), getattr(theirs, field.name)
            if isinstance(values, np.ndarray):
                assert values.dtype == others.dtype
                assert values.tobytes() == others.tobytes(), field.name
            elif field.name != "file":
                assert values == others


def test_any_range_is_a_part_of_the_whole(tmp_path: Path):
    path = write_hdf5(tmp_path / "a.h5", random_events(3))
    whole, *parts = read(path, (0, 12), (2, 5), (3, 4), (5, 5), (8, 12))
    for part in parts:
        first = part.first_entry
        clusters = whole.cluster_offset[first : first + part.num_events + 1]
        voxels = slice(*whole.voxel_offset[clusters[[0, -1]]])
        assert part.voxel_id.tolist() == whole.voxel_id[voxels].tolist()
        assert part.energy.tobytes() == whole.energy[voxels].tobytes()


def test_numbers_of_the_events_of_parquet(tmp_path: Path):
    numbers = list(range(1000, 1012))
    path = write_parquet(tmp_path / "a.parquet", random_events(1), event_id=numbers)
    (events,) = read(path, (4, 9))
    assert events.event.tolist() == numbers[4:9]


def test_the_revision_of_a_file_that_begins_with_empty_events(tmp_path: Path):
    (full,) = random_events(1, num_events=1)
    empty = Event(*(table[:0] for table in full))
    path = write_hdf5(tmp_path / "a.h5", [*[empty] * 20, full])
    assert index_pilarnet_m("a", path).schema == "PILArNet-M v3"
    (events,) = read(path, (20, 21))
    (wanted,) = read(write_hdf5(tmp_path / "b.h5", [full]))
    assert events.start.tobytes() == wanted.start.tobytes()
    path = write_hdf5(tmp_path / "c.h5", [Event(empty.point, empty.cluster, full.extra)])
    with pytest.raises(InputError, match=r"found \d+ for 0 clusters"):
        index_pilarnet_m("c", path)


@pytest.mark.parametrize("wrong", [[None, *range(11)], [f"event {n}" for n in range(12)]])
def test_events_that_are_not_numbered(tmp_path: Path, wrong: list[Any]):
    path = write_parquet(tmp_path / "a.parquet", random_events(1), event_id=wrong)
    with pytest.raises(InputError, match="entry 0: event_id: the events are not numbered"):
        read(path)


def test_rows_in_another_byte_order(tmp_path: Path):
    made = random_events(1)
    theirs = write_hdf5(tmp_path / "a.h5", made, revision="v3_extra")
    with h5py.File(theirs) as source, h5py.File(tmp_path / "b.h5", "w") as target:
        for name, dataset in source.items():
            base = h5py.check_vlen_dtype(dataset.dtype).newbyteorder(">")
            target.create_dataset(name, (len(made),), h5py.vlen_dtype(base))
            for number, row in enumerate(dataset):
                target[name][number] = row
    (one,), (two,) = read(tmp_path / "b.h5"), read(theirs)
    for name, values in vars(one).items():
        if isinstance(values, np.ndarray):
            assert values.tobytes() == getattr(two, name).tobytes()


def test_text_in_the_place_of_numbers(tmp_path: Path):
    path = write_hdf5(tmp_path / "a.h5", random_events(1))
    for dtype in (h5py.string_dtype(), "S3"):
        with h5py.File(path, "r+") as file:
            del file["point"]
            file.create_dataset("point", (12,), dtype)
        with pytest.raises(InputError, match="point: not rows of numbers"):
            read(path)


def test_numbers_of_any_type_and_tables_of_rows_of_one_length(tmp_path: Path):
    """The types are not documented, so those of the file are used."""
    (event,) = random_events(1, num_events=1)
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        file["point"] = event.point.astype(np.float64).ravel()[None]
        file["cluster"] = event.cluster.astype(np.float32).ravel()[None]
        file["cluster_extra"] = event.extra[:, :6].ravel()[None]
    (ours,) = read(path)
    (theirs,) = read(write_hdf5(tmp_path / "b.h5", [event]))
    assert ours.voxel_id.tolist() == theirs.voxel_id.tolist()
    assert ours.energy.tobytes() == theirs.energy.tobytes()
    assert ours.energy_init.tobytes() == theirs.energy_init.tobytes()


def test_a_position_belongs_to_the_voxel_that_holds_it(tmp_path: Path):
    (event,) = random_events(1, num_events=1)
    event.point[:, :3] += 0.5
    (ours,) = read(write_hdf5(tmp_path / "a.h5", [event]))
    event.point[:, :3] -= 0.5
    (theirs,) = read(write_hdf5(tmp_path / "b.h5", [event]))
    assert ours.voxel_id.tolist() == theirs.voxel_id.tolist()


@pytest.mark.skipif(not REAL.exists(), reason="the real files are not here")
def test_a_real_event(tmp_path: Path):
    """The voxels and labels of a published event, put into the layout, come back as particles."""
    event = np.load(REAL)
    semantic = {name: n for n, name in enumerate(("Shower", "Track", "Michel", "Delta"))}
    pid = {name: n for n, name in enumerate(("Photon", "Electron", "Muon", "Pion", "Proton"))}
    point = np.zeros((len(event["xyz"]), 8), np.float32)
    point[:, :3], point[:, 3] = event["xyz"], event["energy_MeV"]
    keys = [event[name] for name in ("instance", "semantic", "pid")]
    order = np.lexsort(keys[::-1])
    rows, first = [], [0]
    columns = [key[order].tolist() for key in keys]
    for group, cluster in itertools.groupby(zip(*columns, strict=True)):
        size = len(list(cluster))
        number, kind, species = group
        labels = (semantic.get(kind, 4), pid.get(species, -1))
        rows.append((size, number, number, 0 if number >= 0 else -1, *labels))
        first.append(first[-1] + size)
    made = Event(point[order], np.array(rows, np.int32), np.zeros((len(rows), 11), np.float32))
    out = tmp_path / "out"
    arguments = ("--workers", 1, "--min-voxels", 1)
    path = write_hdf5(tmp_path / "a.h5", [made])
    assert run_convert("--input", path, "--out", out, *arguments).exit_code == 0
    found = read_particles(out)
    assert len(found) > 3
    wanted = {
        (PDG[pid[name]], frozenset(map(tuple, event["xyz"][chosen].tolist())))
        for number in set(event["instance"].tolist()) - {-1}
        for chosen in [(event["instance"] == number) & (event["semantic"] != "Low-energy deposit")]
        for name in set(event["pid"][chosen].tolist())
        if name in pid
    }
    xyz = [zip(*(p[axis].tolist() for axis in "xyz"), strict=True) for p in found]
    assert {(p["pdg"], frozenset(v)) for p, v in zip(found, xyz, strict=True)} == wanted


@pytest.mark.parametrize("kind", ["h5", "parquet"])
def test_shards(tmp_path: Path, kind: str):
    made = random_events(5, num_events=30)
    hdf5 = write_hdf5(tmp_path / "a.h5", made, revision="v3_extra")
    path = (
        hdf5 if kind == "h5" else write_parquet(tmp_path / "a.parquet", made, revision="v3_extra")
    )
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    found = {(p["entry"], p["cluster"]): p for p in read_particles(tmp_path / "out")}
    wanted = {
        (entry, number): particle
        for entry, particles in enumerate(rows_of(hdf5))
        for number, particle in enumerate(particles)
        if particle.pid != 5 and len(np.unique(particle.voxels[:, :3], axis=0)) >= 10
    }
    assert found.keys() == wanted.keys()
    for key, particle in found.items():
        voxels = wanted[key].voxels
        assert np.isclose(particle["energy"].sum(), voxels[:, 3].sum())
        if len(particle["energy"]) == len(voxels):  # no voxel is listed twice
            assert np.array_equal(particle["x"], voxels[:, 0])
            assert particle["energy"].tobytes() == voxels[:, 3].tobytes()
        assert particle["pdg"] == PDG[wanted[key].pid]
        assert (particle["run"], particle["subrun"], particle["event"]) == (-1, -1, key[0])
        assert (particle["track_id"], particle["process"]) == (-1, "")
        assert np.array_equal(particle["origin"], [0, 0, 0])
        assert np.isnan(particle["end"]).all()


def test_primaries_are_those_of_the_file(tmp_path: Path):
    path = write_hdf5(tmp_path / "a.h5", random_events(5, num_events=30))
    out = tmp_path / "out"
    result = run_convert("--input", path, "--out", out, "--workers", 1, "--primaries-only")
    assert result.exit_code == 0
    found = {(p["entry"], p["cluster"]) for p in read_particles(out)}
    wanted = {
        (entry, number)
        for entry, particles in enumerate(rows_of(path))
        for number, particle in enumerate(particles)
        if particle.pid != 5 and particle.truth[5] == 1
        if len(np.unique(particle.voxels[:, :3], axis=0)) >= 10
    }
    assert found == wanted


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda e: e.point.__setitem__((0, 1), 768), "entry 1: point: a voxel lies outside"),
        (lambda e: e.point.__setitem__((2, 0), np.nan), "entry 1: point: a voxel lies outside"),
        (lambda e: e.point.__setitem__((2, 3), np.nan), "entry 1: point: a voxel has no finite"),
        (lambda e: e.cluster.__setitem__((0, 0), 500), "entry 1: cluster: clusters and voxels do"),
        (lambda e: e.cluster.__setitem__((0, 0), -2), "entry 1: cluster: clusters and voxels do"),
    ],
)
@pytest.mark.parametrize("kind", ["h5", "parquet"])
def test_damage_is_named(tmp_path: Path, change: Any, says: str, kind: str):
    made = random_events(1)
    change(made[1])
    path = tmp_path / f"a.{kind}"
    (write_hdf5 if kind == "h5" else write_parquet)(path, made)
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {path}: {says}")


@pytest.mark.parametrize("column", ["cluster_extra", "cluster_extra_2"])
def test_the_truth_must_have_a_row_for_each_cluster(tmp_path: Path, column: str):
    """Otherwise the particles behind would be given the truth of others."""
    path = write_hdf5(tmp_path / "a.h5", random_events(1), revision="v3_extra")
    with h5py.File(path, "r+") as file:
        width = 5 if column == "cluster_extra_2" else 6
        before, after = file[column][6], file[column][7]
        file[column][6] = before[:-width]
        file[column][7] = np.append(before[-width:], after)
        clusters = len(file["cluster"][6]) // 6
    with pytest.raises(InputError) as error:
        read(path)
    place = f"{path}: entry 6: {column}: not rows of {width} numbers"
    found = f"(expected {clusters} rows, one for each cluster, found {(clusters - 1) * width} numb"
    assert str(error.value).startswith(f"{place} {found}")


@pytest.mark.filterwarnings("error")
def test_numbers_that_are_not_finite(tmp_path: Path):
    made = random_events(1)
    made[2].extra[:, 10] = np.nan
    (events,) = read(write_hdf5(tmp_path / "a.h5", made, revision="v3_extra"))
    of_event = slice(*events.particle_offset[2:4])
    assert set(events.parent_track_id[of_event].tolist()) == {-1}
    made = [event._replace(cluster=event.cluster.astype(np.float32)) for event in made]
    made[5].cluster[1, 2] = np.nan
    with pytest.raises(InputError, match="entry 5: cluster: a number of a cluster is not finite"):
        read(write_hdf5(tmp_path / "b.h5", made))


def test_revision_v1_is_refused(tmp_path: Path):
    path = tmp_path / "a.h5"
    with h5py.File(path, "w") as file:
        for name in ("point", "cluster"):
            file.create_dataset(name, (2,), h5py.vlen_dtype(np.float32))
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line == (
        f"error: {path}: PILArNet-M of revision v1, which does not say what its particles are; "
        "take revision v2 or v3"
    )


def test_other_widths_and_lengths_are_refused(tmp_path: Path):
    made = random_events(1, num_events=2)
    path = write_hdf5(tmp_path / "a.h5", made)
    with h5py.File(path, "r+") as file:
        for number, event in enumerate(made):
            file["cluster_extra"][number] = event.extra[:, :7].ravel()
    with pytest.raises(InputError, match=r"unknown revision.*expected 5, 6, 9, 11 numbers"):
        index_pilarnet_m("a", path)
    path = write_hdf5(tmp_path / "b.h5", made)
    with h5py.File(path, "r+") as file:
        del file["cluster"]
        file.create_dataset("cluster", (1,), h5py.vlen_dtype(np.int32))
    with pytest.raises(InputError, match="differ in length"):
        index_pilarnet_m("a", path)


@pytest.mark.parametrize("kind", ["h5", "parquet"])
def test_a_truncated_file(tmp_path: Path, kind: str):
    path = tmp_path / f"a.{kind}"
    (write_hdf5 if kind == "h5" else write_parquet)(path, random_events(1))
    path.write_bytes(path.read_bytes()[:-2000])
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "truncated" in line if kind == "h5" else "cannot be read as a parquet file" in line
