"""Which clusters become particles of which split, against a slow loop written from the design."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pilarnet_convert.spool import join_segments, read_report, remove_segment, write_segment

from pilarnet_convert.particles import Selection, Tally, particle_clouds
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.events import Events
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.species import OTHER, is_pdg_code, label_of_pdg

LABELS = {11: 0, -11: 0, 2212: 1, 22: 2, 13: 3, -13: 3, 211: 4, -211: 4}
CODES = [*LABELS, 321, -2212, 2112, 1000010020]

voxels = st.lists(st.integers(0, 5 * 6 * 7 - 1), max_size=6).map(sorted)
particles = st.tuples(st.sampled_from(CODES), st.integers(1, 3), st.integers(1, 3))
#: An event: the particles with their voxels, and the voxels of the cluster without a particle.
events = st.lists(
    st.tuples(st.lists(st.tuples(particles, voxels), max_size=5), st.none() | voxels),
    min_size=1,
    max_size=5,
)


def columns_of(events: Sequence[Any], grids: Sequence[tuple[int, int, int]]) -> Events:
    clusters = [[v for _, v in ps] + ([rest] if rest is not None else []) for ps, rest in events]
    flat = [p for ps, _ in events for p, _ in ps]
    number = len(flat)
    sizes = [len(v) for event in clusters for v in event]
    voxel_id = np.array([i for event in clusters for v in event for i in v], np.int64)
    vectors = np.arange(3 * number, dtype=np.float32).reshape(-1, 3)
    return Events(
        file="made up",
        first_entry=40,
        run=np.arange(len(events)) // 3,
        subrun=np.full(len(events), 7),
        event=np.arange(len(events)),
        grid=np.array(grids[: len(events)], np.int64),
        origin=np.arange(3.0 * len(events)).reshape(-1, 3),
        voxel_size=np.full((len(events), 3), 0.3),
        cluster_offset=offsets_of(np.array([len(event) for event in clusters])),
        voxel_offset=offsets_of(np.array(sizes, np.int64)),
        voxel_id=voxel_id,
        energy=np.arange(len(voxel_id), dtype=np.float32),
        particle_offset=offsets_of(np.array([len(ps) for ps, _ in events])),
        pdg=np.array([pdg for pdg, _, _ in flat], np.int32),
        track_id=np.array([track for _, track, _ in flat], np.int64),
        parent_track_id=np.array([parent for _, _, parent in flat], np.int64),
        energy_init=np.arange(number, dtype=np.float32) + 1,
        energy_deposit=np.arange(number, dtype=np.float32) + 2,
        momentum=vectors,
        start=vectors + 0.5,
        end=vectors + 0.25,
        process=np.zeros(number, np.uint8),
        process_names=("primary",),
    )


@settings(deadline=None, max_examples=60)
@given(
    events,
    st.lists(st.sampled_from([(5, 6, 7), (7, 6, 5), (70000, 3, 1)]), min_size=5, max_size=5),
    st.integers(1, 4),
    st.booleans(),
)
def test_clouds_and_tally(
    events: Any, grids: list[tuple[int, int, int]], min_voxels: int, primaries_only: bool
):
    columns = columns_of(events, grids)
    selection = Selection(min_voxels=min_voxels, primaries_only=primaries_only)
    clouds, bounds, tally = particle_clouds(
        columns, source_name="a.root", source=3, selection=selection
    )
    kept: dict[tuple[int, int], list[Any]] = {}
    rejected: Counter[str] = Counter()
    other: Counter[int] = Counter()
    first_voxel = first_particle = 0
    for at, (with_particle, rest) in enumerate(events):
        nx, ny, _ = grids[at]
        for cluster, ((pdg, track, parent), ids) in enumerate(with_particle):
            if pdg not in LABELS:
                rejected["other_species"] += 1
                other[pdg] += 1
            elif primaries_only and track != parent:
                rejected["not_primary"] += 1
            elif len(ids) < min_voxels:
                rejected["below_min_voxels"] += 1
            else:
                xyz = [(i % nx, i // nx % ny, i // (nx * ny)) for i in ids]
                energies = [float(first_voxel + i) for i in range(len(ids))]
                kept[at, cluster] = [pdg, track, parent, xyz, energies, first_particle + cluster]
            first_voxel += len(ids)
        if rest is not None:
            rejected["no_particle"] += 1
            first_voxel += len(rest)
        first_particle += len(with_particle)

    assert tally.events == len(events)
    assert tally.seen == columns.num_clusters == len(kept) + rejected.total()
    assert tally.rejected == rejected
    assert tally.other_pdg == other
    assert tally.written.total() == len(kept)
    assert Tally.from_json(json.loads(json.dumps(tally.to_json()))) == tally
    assert bounds.tolist() == sorted(bounds.tolist())
    assert (bounds[0], bounds[-1]) == (0, len(kept))

    split_of: dict[int, set[int]] = {}
    seen = []
    for i in range(len(kept)):
        at, cluster = int(clouds["entry"][i]) - 40, int(clouds["cluster"][i])
        seen.append((at, cluster))
        split_of.setdefault(at, set()).add(int(np.searchsorted(bounds, i, "right")) - 1)
        pdg, track, parent, xyz, energies, particle = kept[at, cluster]
        span = slice(clouds["offset"][i], clouds["offset"][i + 1])
        found = np.stack([clouds[axis][span] for axis in "xyz"], axis=1)
        assert found.tolist() == [[v % 2**16 for v in triple] for triple in xyz]
        assert clouds["energy"][span].tolist() == energies
        assert (clouds["pdg"][i], clouds["label"][i]) == (pdg, LABELS[pdg])
        assert (clouds["track_id"][i], clouds["parent_track_id"][i]) == (track, parent)
        assert clouds["energy_init"][i] == particle + 1
        assert clouds["energy_deposit"][i] == particle + 2
        assert clouds["momentum"][i].tolist() == columns.momentum[particle].tolist()
        assert clouds["start"][i].tolist() == columns.start[particle].tolist()
        assert clouds["end"][i].tolist() == columns.end[particle].tolist()
        assert clouds["origin"][i].tolist() == columns.origin[at].tolist()
        ids = [clouds[name][i] for name in ("run", "subrun", "event", "source")]
        assert ids == [at // 3, 7, at, 3]
    assert sorted(seen) == sorted(kept)
    assert all(len(splits) == 1 for splits in split_of.values())
    for a, b in itertools.pairwise(bounds):
        assert seen[a:b] == sorted(seen[a:b])


@settings(max_examples=25, deadline=None)
@given(st.lists(events, min_size=1, max_size=4), st.data())
def test_segments_join_to_what_was_written(
    tmp_path_factory: pytest.TempPathFactory, batches: list[Any], data: st.DataObject
):
    folder = tmp_path_factory.mktemp("segments")
    names = [("primary", "Decay", "compt"), ("compt", "primary"), ("phot",), ("phot", "Decay")]
    everything: dict[str, list[Any]] = {split: [] for split in SPLITS}
    sizes: dict[str, list[int]] = {split: [] for split in SPLITS}
    for unit, batch in enumerate(batches):
        columns = columns_of(batch, [(5, 6, 7)] * 5)
        clouds, bounds, tally = particle_clouds(
            columns,
            source_name=str(unit),
            source=unit,
            selection=Selection(min_voxels=1, splits={"train": 0.6, "val": 0.2, "test": 0.2}),
        )
        clouds["process"] = (clouds["cluster"] % len(names[unit])).astype(np.uint8)
        assert read_report(folder, unit) is None
        report = write_segment(
            folder, unit, clouds, split_bounds=bounds, process_names=names[unit], tally=tally
        )
        assert read_report(folder, unit) == report
        for split, a, b in zip(SPLITS, bounds[:-1], bounds[1:], strict=True):
            assert report.num_particles(split) == b - a
            sizes[split].append(int(b - a))
            for i in range(a, b):
                row = {k: v[i].tolist() for k, v in clouds.items() if len(v) == bounds[-1]}
                span = slice(clouds["offset"][i], clouds["offset"][i + 1])
                row |= {k: clouds[k][span].tolist() for k in ("x", "y", "z", "energy")}
                row["process"] = names[unit][clouds["process"][i]]
                everything[split].append((unit, i - a, row))
    for split in SPLITS:
        parts = []
        for unit, size in enumerate(sizes[split]):
            a, b = sorted([data.draw(st.integers(0, size)), data.draw(st.integers(0, size))])
            if a < b:
                parts.append((unit, a, b))
        if not parts:
            continue
        joined, process_names = join_segments(folder, split, parts)
        wanted = [
            r for u, i, r in everything[split] if any(u == p and a <= i < b for p, a, b in parts)
        ]
        assert len(joined["label"]) == len(wanted)
        order = list(dict.fromkeys(row["process"] for row in wanted))
        assert process_names == order
        for i, row in enumerate(wanted):
            span = slice(joined["offset"][i], joined["offset"][i + 1])
            for name in ("x", "y", "z", "energy"):
                assert joined[name][span].tolist() == row[name]
            for name in ("label", "pdg", "momentum", "track_id", "source", "entry", "cluster"):
                assert joined[name][i].tolist() == row[name]
            assert process_names[joined["process"][i]] == row["process"]
    remove_segment(folder, 0, "train")
    remove_segment(folder, 0, "train")
    assert not (folder / "00000000.train").exists()


@given(st.lists(st.integers(-(2**31), 2**31 - 1) | st.sampled_from(CODES)))
def test_labels(codes: list[int]):
    labels = label_of_pdg(np.array(codes, np.int32))
    assert labels.dtype == np.int8
    assert labels.tolist() == [LABELS.get(code, OTHER) for code in codes]


@given(st.lists(st.integers(0, 1000)))
def test_offsets(counts: list[int]):
    offsets = offsets_of(np.array(counts, np.int64))
    assert offsets.dtype == np.int64
    assert offsets.tolist() == [sum(counts[:i]) for i in range(len(counts) + 1)]


#: From the tables of the Review of Particle Physics; what Geant4 and GENIE write among them.
KNOWN_CODES = """
1 6 11 -11 12 13 -13 14 15 16 21 22 23 24 -24 25 111 211 -211 113 221 223 331 333 130 310 311 321
-321 313 323 411 421 431 511 521 531 541 441 443 553 2212 -2212 2112 -2112 2224 2214 2114 1114 3122
-3122 3222 3212 3112 3322 3312 3334 4122 4222 4112 4232 4132 4332 5122 5132 5232 5332 10111 10211
20113 20213 9000111 9010221 100211 30443 100443 3124 13122 23122 12212 12112 22112 4114 4214
1000010020 1000010030 1000020030 1000020040 1000060120 1000180400 1000180390 1000190400 1000922350
-1000010020 1010030060 1000000010 1000180401
"""


def test_known_codes():
    assert [code for code in map(int, KNOWN_CODES.split()) if not is_pdg_code(code)] == []


@pytest.mark.parametrize(
    "code",
    [0, 9, 10, 19, 20, 50, 99, 101, 200, 211000, 210, 2210, 12345678, 99999999, 2**31 - 1],
)
def test_codes_that_name_no_particle(code: int):
    assert not is_pdg_code(code)
    assert not is_pdg_code(-code)
