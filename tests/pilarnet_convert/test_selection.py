"""Splits, rejections and limits of whole conversions, against the expected tables."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest

from pilarnet_convert import convert
from tests.pilarnet_convert.inputs import BUNDLED, QUIRKS, SPLIT, expected_rows
from tests.pilarnet_convert.larcv3_files import random_events, write_larcv3
from tests.pilarnet_convert.outputs import contents, read_particles, run_convert, run_stats
from tests.sample import SAMPLE

THIRDS = "train=0.34,val=0.33,test=0.33"
LABELS = {11: 0, -11: 0, 2212: 1, 22: 2, 13: 3, -13: 3, 211: 4, -211: 4}


@pytest.fixture(scope="module")
def converted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of the shards of all bundled files under several options."""
    folder = tmp_path_factory.mktemp("converted")
    files = [example.file for example in BUNDLED]
    convert(files, folder / "plain", workers=1)
    convert(files[::-1], folder / "reversed", workers=1)
    convert(files, folder / "primaries", workers=1, primaries_only=True, min_voxels=1)
    convert(files[:1], folder / "first", workers=1, splits={"train": 0.5, "test": 0.5})
    return folder


def event_splits(folder: Path) -> dict[tuple[str, int], str]:
    """Return the split of each event that has a particle; fail if it has two."""
    sources = json.loads((folder / "zarr.json").read_text())["attributes"]["sources"]
    found: dict[tuple[str, int], str] = {}
    for particle in read_particles(folder):
        key = sources[particle["source"]]["name"], int(particle["entry"])
        assert found.setdefault(key, particle["split"]) == particle["split"]
    return found


def test_splits_hold_whole_events_whatever_the_order(converted: Path):
    plain, back = event_splits(converted / "plain"), event_splits(converted / "reversed")
    assert plain == back
    assert len(plain) > 70
    counts = Counter(plain.values())
    assert counts["train"] / len(plain) == pytest.approx(0.8, abs=0.12)
    assert min(counts["val"], counts["test"]) > 0
    halves = Counter(event_splits(converted / "first").values())
    assert set(halves) == {"train", "test"}


@pytest.mark.parametrize("numbers", ["never set", "counted anew in the middle"])
def test_repeated_numbers_are_found_in_the_whole_source(tmp_path: Path, numbers: str):
    """Into whatever tasks the source is divided, and whichever worker runs them."""
    file = tmp_path / "a.h5"
    write_larcv3(file, random_events(4, num_events=30))
    with h5py.File(file, "r+") as stream:
        ids = stream["Events/event_id"][...]
        ids["event"] = 0 if numbers == "never set" else np.arange(30) % 25
        stream["Events/event_id"][...] = ids
    found, said = [], []
    for name, options in {
        "one": {"workers": 1},
        "tasks": {"workers": 2, "events_per_shard": 7},
        "first": {"workers": 1, "max_events": 15},
    }.items():
        convert(file, tmp_path / name, min_voxels=1, splits=THIRDS, **options)
        found.append(event_splits(tmp_path / name))
        root = json.loads((tmp_path / name / "zarr.json").read_text())["attributes"]
        said.append(root["statistics"]["repeated_numbers"])
    assert found[0] == found[1]
    assert found[2] == {key: split for key, split in found[0].items() if key[1] < 15}
    assert said == ([30, 30, 15] if numbers == "never set" else [10, 10, 5])
    assert len(set(found[0].values())) == 3
    convert(file, tmp_path / "again", workers=1, min_voxels=1, splits=THIRDS, events_per_shard=7)
    assert contents(tmp_path / "again") == contents(tmp_path / "tasks")


def test_the_order_of_the_inputs_moves_particles_and_changes_none(converted: Path):
    def rows(folder: Path) -> dict[Any, Any]:
        sources = json.loads((folder / "zarr.json").read_text())["attributes"]["sources"]
        found = {}
        for p in read_particles(folder):
            name = sources[p.pop("source")]["name"]
            found[name, int(p["entry"]), int(p["cluster"])] = {
                key: np.asarray(value).tolist() for key, value in p.items()
            }
        return found

    assert rows(converted / "plain") == rows(converted / "reversed")


@pytest.mark.parametrize(("name", "min_voxels"), [("plain", 10), ("primaries", 1)])
def test_every_cluster_is_accounted_for(converted: Path, name: str, min_voxels: int):
    wanted: Counter[str] = Counter()
    kept: Counter[str] = Counter()
    for row in (row for example in BUNDLED for row in expected_rows(example.table)):
        if not row["pdg"]:
            wanted["no_particle"] += 1
        elif int(row["pdg"]) not in LABELS:
            wanted["other_species"] += 1
            kept[row["pdg"]] += 1
        elif name == "primaries" and row["track_id"] != row["parent_track_id"]:
            wanted["not_primary"] += 1
        elif int(row["n_voxels"]) < min_voxels:
            wanted["below_min_voxels"] += 1
        else:
            wanted["written"] += 1
    statistics = json.loads((converted / name / "zarr.json").read_text())["attributes"][
        "statistics"
    ]
    written = sum(sum(row.values()) for row in statistics["particles_written"].values())
    found = Counter(statistics["clusters_rejected"]) + Counter({"written": written})
    assert found == wanted
    assert statistics["clusters_seen"] == wanted.total()
    assert statistics["other_species"] == dict(kept)
    assert len(read_particles(converted / name)) == wanted["written"]


@pytest.mark.parametrize("max_events", [1, 3, 20, 21, 1000])
def test_max_events_takes_the_first_of_all(tmp_path: Path, max_events: int):
    out = tmp_path / "shards"
    shards = convert([SPLIT, SAMPLE], out, max_events=max_events, min_voxels=1, workers=1)
    assert shards.attributes["statistics"]["events"] == min(max_events, 35)
    order = [(0, entry) for entry in range(15)] + [(1, entry) for entry in range(20)]
    found = {(int(p["source"]), int(p["entry"])) for p in read_particles(out)}
    assert found <= set(order[:max_events])
    assert len(found) > 0.8 * min(max_events, 35)


def test_nothing_is_left_to_write(tmp_path: Path):
    """If every cluster is rejected, the set is empty, and can be opened, counted and verified."""
    out = tmp_path / "shards"
    result = run_convert(
        *("--input", QUIRKS, "--out", out, "--workers", 1, "--min-voxels", 1_000_000)
    )
    assert (result.exit_code, result.stderr) == (0, "")
    assert "written" in result.stdout
    for arguments in ((), ("--verify",), ("--format", "json"), ("--plot", tmp_path / "a.png")):
        result = run_stats(out, *arguments)
        assert (result.exit_code, result.stderr) == (0, "")
    assert (tmp_path / "a.png").stat().st_size > 5000


@pytest.mark.parametrize("splits", ["train=1", "val=1", "train=0.5,test=0.5"])
def test_a_split_of_no_fraction_gets_nothing(tmp_path: Path, splits: str):
    out = tmp_path / "shards"
    convert(SAMPLE, out, splits=splits, workers=1)
    asked = {part.split("=")[0] for part in splits.split(",")}
    assert {p["split"] for p in read_particles(out)} == asked
    assert {p.name for p in out.iterdir()} == {"train", "val", "test", "zarr.json"}


def test_an_event_a_shard(tmp_path: Path):
    out = tmp_path / "shards"
    shards = convert(SAMPLE, out, events_per_shard=1, max_events=2, workers=1)
    whole = convert(SAMPLE, tmp_path / "whole", max_events=2, workers=1)
    assert [s.name[-5:] for of in shards.splits.values() for s in of] == ["00000", "00001"]
    ours, theirs = read_particles(out), read_particles(whole.path)
    assert len(ours) == len(theirs) == shards.num_particles()
    for one, other in zip(ours, theirs, strict=True):
        assert all(np.array_equal(one[name], other[name]) for name in one)
    assert set(contents(out)) - set(contents(whole.path))
