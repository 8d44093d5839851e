"""Scenes of events, against what LArCV2 itself reads."""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.errors import InputError
from pilarnet_convert.options import OptionError
from pilarnet_convert.readers.larcv2 import Larcv2Reader, index_larcv2
from pilarnet_view import event_scene
from tests.pilarnet_convert.pilarnet_m_files import random_events, rows_of, write_hdf5
from tests.sample import MODERN, QUIRKS, SAMPLE


def expected(file: Path) -> Iterator[tuple[int, list[dict[str, str]]]]:
    """What LArCV2 itself reads: the clusters with voxels of each entry."""
    with file.with_suffix(".csv").open(newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if int(row["n_voxels"])]
    for entry in sorted({int(row["entry"]) for row in rows}):
        yield entry, [row for row in rows if int(row["entry"]) == entry]


@pytest.mark.parametrize("file", [SAMPLE, MODERN, QUIRKS], ids=lambda file: file.stem)
def test_clusters_are_those_that_larcv_reads(file: Path):
    for entry, rows in islice(expected(file), 8):
        clouds = event_scene(file, entry=entry).clouds
        assert [c.name for c in clouds] == [f"cluster {row['cluster']}" for row in rows]
        for cloud, row in zip(clouds, rows, strict=True):
            voxels = cloud.xyz.astype("<i4").tobytes() + cloud.energy_mev.astype("<f4").tobytes()
            assert hashlib.sha1(voxels).hexdigest() == row["sha1_xyz_int32_energy_float32"]
            assert cloud.num_voxels == int(row["n_voxels"])
            assert cloud.deposit_mev == pytest.approx(float(row["sum_energy"]), rel=1e-6)
            assert (cloud.pdg, cloud.process) == (
                (int(row["pdg"]), row["process"]) if row["pdg"] else (None, "")
            )


def test_what_is_outside_the_classes_is_named_too():
    # An antiproton and two deuterons; a cluster of an event that belongs to no particle.
    clouds = event_scene(QUIRKS, entry=10).clouds
    other = [c.pdg for c in clouds if c.species == "other species"]
    assert sorted(filter(None, other)) == [-2212, 1000010020, 1000010020]
    last = event_scene(SAMPLE, entry=9).clouds[-1]
    assert (last.species, last.pdg) == ("no particle", None)


def test_geometry_is_the_file_s_own():
    scene = event_scene(SAMPLE, entry=3)
    source = index_larcv2("sample", [SAMPLE])
    with Larcv2Reader(source) as reader:
        columns = reader.read(3, 4)
    assert scene.voxel_cm == pytest.approx(columns.voxel_size[0])
    assert scene.panels[0].origin_cm == pytest.approx(columns.origin[0])
    # A primary starts where its first voxel is: file, axes and units agree.
    muon = next(c for c in scene.clouds if c.process == "primary")
    start = columns.start[int(muon.name.split()[1])]
    cm = scene.panels[0].origin_cm + (muon.xyz + 0.5) * np.array(scene.voxel_cm)
    assert np.linalg.norm(cm - start, axis=1).min() < 1.0


def test_colours_go_by_size():
    clouds = event_scene(SAMPLE, entry=9).clouds
    by_number = sorted(clouds, key=lambda cloud: cloud.number)
    sizes = [cloud.num_voxels for cloud in by_number]
    assert sizes == sorted(sizes, reverse=True)
    assert len({cloud.number for cloud in clouds}) == len(clouds)


def test_several_events_have_a_panel_each():
    scene = event_scene(SAMPLE, entry=range(17, 1000))
    assert scene.subtitle == "entries 17 to 19 of 20"
    assert [panel.title.split(":")[0] for panel in scene.panels] == [
        f"entry {entry}" for entry in (17, 18, 19)
    ]
    for entry, panel in zip((17, 18, 19), scene.panels, strict=True):
        alone = event_scene(SAMPLE, entry=entry).panels[0]
        for found, expected in zip(panel.clouds, alone.clouds, strict=True):
            assert found.facts == expected.facts
            assert np.array_equal(found.xyz, expected.xyz)
        assert np.array_equal(panel.links, alone.links)


def test_an_event_that_left_nothing_among_others():
    there = {entry for entry, _ in expected(QUIRKS)}
    scene = event_scene(QUIRKS, entry=range(24))
    assert {n for n, panel in enumerate(scene.panels) if panel.clouds} == there
    empty = next(panel for panel in scene.panels if not panel.clouds)
    assert np.array_equal(empty.high - empty.low, empty.grid)


def test_vertices_and_links_are_those_of_the_particles():
    """As a plain loop over the columns of the file finds them."""
    with Larcv2Reader(index_larcv2("sample", [SAMPLE])) as reader:
        columns = reader.read(0, 20)
    num_vertices = num_links = 0
    for entry, panel in enumerate(event_scene(SAMPLE, entry=range(20)).panels):
        rows = range(*columns.particle_offset[entry : entry + 2])
        origin, cell = columns.origin[entry], columns.voxel_size[entry]
        starts = [tuple(columns.start[r]) for r in rows]
        shown = {int(c.name.split()[1]): c for c in panel.clouds if c.pdg is not None}
        primaries = [
            starts[n] for n in shown
            if columns.track_id[rows[n]] == columns.parent_track_id[rows[n]]
        ]  # fmt: skip
        shared = {s for s in primaries if primaries.count(s) > 1}
        found = panel.vertices * cell + origin + cell / 2
        assert sorted(map(tuple, found)) == pytest.approx(np.array(sorted(shared)), abs=0.01)
        num_vertices += len(shared)
        # Whoever names a shown particle as its parent is linked to it, from where it starts.
        tracks = {int(columns.track_id[rows[n]]): cloud for n, cloud in shown.items()}
        direct = [
            (cloud, tracks[cloud.parent_track_id]) for cloud in shown.values()
            if cloud.parent_track_id in tracks and cloud.parent_track_id != cloud.track_id
        ]  # fmt: skip
        for cloud, parent in direct:
            assert f"parent {parent.name}, {parent.species}" in cloud.facts
            assert cloud.start is not None
            distance = [np.linalg.norm(c.xyz - cloud.start, axis=1) for c in (parent, cloud)]
            ends = [np.linalg.norm(link - cloud.start, axis=1) for link in panel.links]
            wanted = (distance[0].min(), 0, distance[1].min())
            assert any(end == pytest.approx(wanted) for end in ends)
        num_links += len(direct)
    assert num_vertices >= 5
    assert num_links >= 20


@pytest.mark.parametrize("entry", [-1, 20])
def test_an_entry_that_is_not_there(entry: int):
    with pytest.raises(
        OptionError, match=rf"--entry: no such entry \(expected 0 to 19, found {entry}\)"
    ):
        event_scene(SAMPLE, entry=entry)


def test_more_events_than_a_page_takes(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pilarnet_view.event._MOST_EVENTS", 6)
    with pytest.raises(OptionError, match=r"--entry: too many events .*at most 6, found 7\)"):
        event_scene(SAMPLE, entry=range(3, 10))


def test_an_event_that_left_nothing():
    entries = {entry for entry, _ in expected(QUIRKS)}
    empty = min(set(range(24)) - entries)
    with pytest.raises(InputError, match=f"entry {empty}: the event left no voxels"):
        event_scene(QUIRKS, entry=empty)


def test_products_in_three_files(shared_larcv: Path):
    (file,) = shared_larcv.glob("split/*.root")
    (cluster,) = shared_larcv.glob("split/cluster/*.root")
    from_one, from_other = event_scene(file, entry=2), event_scene(cluster, entry=2)
    assert [c.facts for c in from_one.clouds] == [c.facts for c in from_other.clouds]


@pytest.mark.parametrize("revision", ["v2", "v3_extra"])
def test_an_event_of_pilarnet_m(tmp_path: Path, revision: str):
    path = write_hdf5(tmp_path / "a.h5", random_events(1), revision=revision)
    for entry, particles in islice(enumerate(rows_of(path)), 3):
        clouds = [c for c in event_scene(path, entry=entry).clouds if c.pdg is not None]
        with_voxels = [p for p in particles if len(p.voxels)]
        for cloud, particle in zip(clouds, with_voxels, strict=True):
            assert np.array_equal(cloud.xyz, particle.voxels[:, :3])
            assert np.array_equal(cloud.energy_mev, particle.voxels[:, 3])
