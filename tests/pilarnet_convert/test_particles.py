"""Which clusters become particles of which split, against a slow loop written from the design."""

from __future__ import annotations

import dataclasses
import hashlib
import itertools
import json
from collections import Counter
from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilarnet_convert.errors import InputError, PilarnetError
from pilarnet_convert.particles import (
    ParticleArrays,
    Selection,
    concatenate_particles,
    split_of_event,
    split_up,
)
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.events import Events, repeated_rows
from pilarnet_convert.shards.format import SPLITS, VOXEL_ARRAYS
from pilarnet_convert.tally import Tally

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
        products=("clusters", "particles"),
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
        process=np.zeros(number, np.uint16),
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
    selection = Selection(
        min_voxels=min_voxels,
        primaries_only=primaries_only,
        splits={"train": 0.8, "val": 0.1, "test": 0.1},
    )
    particles, tally = split_up(
        columns,
        identity="a",
        source=3,
        selection=selection,
        repeated=np.zeros(columns.num_events, bool),
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

    split_of: dict[int, set[str]] = {}
    seen = []
    for split, i in [(name, i) for name, of in particles.items() for i in range(len(of))]:
        clouds = particles[split].arrays
        at, cluster = int(clouds["entry"][i]) - 40, int(clouds["cluster"][i])
        seen.append((at, cluster))
        split_of.setdefault(at, set()).add(split)
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
    for of in particles.values():
        places = list(zip(of.arrays["entry"], of.arrays["cluster"], strict=True))
        assert places == sorted(places)


@settings(max_examples=25, deadline=None)
@given(st.lists(events, min_size=1, max_size=4))
def test_particles_of_several_sources_are_joined_in_order(batches: list[Any]):
    names = [("primary", "Decay", "compt"), ("compt", "primary"), ("phot",), ("phot", "Decay")]
    parts, rows = [], []
    for number, batch in enumerate(batches):
        particles, _ = split_up(
            columns_of(batch, [(5, 6, 7)] * 5),
            identity=str(number),
            source=number,
            selection=Selection(min_voxels=1, primaries_only=False, splits={"train": 1.0}),
            repeated=np.zeros(len(batch), bool),
        )
        arrays = particles["train"].arrays
        arrays["process"] = (arrays["cluster"] % len(names[number])).astype(np.uint16)
        if not len(particles["train"]):
            continue
        parts.append(ParticleArrays(arrays=arrays, process_names=names[number]))
        rows += rows_of(parts[-1])
    if parts:
        joined = concatenate_particles(parts)
        assert rows_of(joined) == rows
        order = dict.fromkeys(row["process"] for row in rows)
        assert joined.process_names == tuple(order)


def rows_of(particles: ParticleArrays) -> list[dict[str, Any]]:
    """Return every particle as a dict of plain values."""
    rows = []
    for i, (start, stop) in enumerate(itertools.pairwise(particles.arrays["offset"])):
        row = {
            name: (values[start:stop] if name in VOXEL_ARRAYS else values[i]).tolist()
            for name, values in particles.arrays.items()
            if name != "offset"
        }
        rows.append(row | {"process": particles.process_names[row["process"]]})
    return rows


def test_events_without_numbers_are_spread_by_their_entries():
    one = ([((11, 1, 1), [3])], None)
    events = columns_of([one] * 200, [(5, 6, 7)] * 200)
    splits = {"train": 0.5, "val": 0.3, "test": 0.2}
    none, every = np.zeros(200, bool), np.ones(200, bool)
    numbered = split_of_event(events, identity="a", splits=splits, repeated=none)
    zero = np.zeros(200, np.int64)
    unset = dataclasses.replace(events, run=zero, subrun=zero, event=zero)
    found = split_of_event(unset, identity="a", splits=splits, repeated=every)
    for split, share in enumerate(splits.values()):  # within five standard deviations
        assert abs(np.mean(found == split) - share) < 5 * (share * (1 - share) / 200) ** 0.5
    # Only those with the numbers of another are told apart by their entries.
    last = np.arange(200) > 197
    same = split_of_event(events, identity="a", splits=splits, repeated=last)
    assert same[:198].tolist() == numbered[:198].tolist()
    selection = Selection(min_voxels=1, primaries_only=False, splits=splits)
    _, tally = split_up(unset, identity="a", source=0, selection=selection, repeated=last)
    assert tally.repeated_numbers == 2


@pytest.mark.parametrize(
    "splits", [{"train": 0.5, "val": 0.5}, {"train": 0.3333333, "val": 0.6666666}, {"val": 1.0}]
)
def test_the_largest_hash_is_in_the_last_split_with_a_fraction(
    monkeypatch: pytest.MonkeyPatch, splits: dict[str, float]
):
    largest = SimpleNamespace(digest=lambda: b"\xff" * 8)
    monkeypatch.setattr(hashlib, "blake2b", lambda *_, **__: largest)
    events = columns_of([([], None)], [(5, 6, 7)])
    found = split_of_event(events, identity="a", splits=splits, repeated=np.zeros(1, bool))
    assert found.tolist() == [SPLITS.index("val")]


@given(st.lists(st.lists(st.integers(0, 2), min_size=3, max_size=3), max_size=12))
def test_rows_that_occur_several_times(rows: list[list[int]]):
    numbers = np.array(rows, np.int64).reshape(-1, 3)
    assert repeated_rows(numbers).tolist() == [rows.count(row) > 1 for row in rows]


def test_more_creation_processes_than_a_byte_can_number():
    def made(part: int, count: int) -> ParticleArrays:
        arrays = {
            "process": np.arange(count, dtype=np.uint16),
            "label": np.zeros(count, np.int8),
            "offset": np.arange(count + 1),
        }
        names = tuple(f"process {part}-{i}" for i in range(count))
        return ParticleArrays(arrays=arrays, process_names=names)

    parts = [made(part, 700) for part in (0, 1)]
    joined = concatenate_particles(parts)
    with pytest.raises(PilarnetError, match=r"too many creation processes.*--events-per-shard"):
        concatenate_particles([made(part, 40_000) for part in (0, 1)])
    events = dataclasses.replace(
        columns_of([([], None)], [(5, 6, 7)]), process_names=tuple(map(str, range(65_537)))
    )
    with pytest.raises(InputError, match=r"too many creation processes.*found 65537"):
        check_events(events)
    assert [joined.process_names[i] for i in joined.arrays["process"]] == [
        *parts[0].process_names,
        *parts[1].process_names,
    ]
