"""Exports, read back by other libraries only, and errors while they are written."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import awkward as ak
import h5py
import numpy as np
import polars
import pytest
from click.testing import CliRunner, Result
from hypothesis import example, given
from hypothesis import strategies as st

from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import MissingDependencyError
from pilarnet_convert.export import exporting, pilarnet_m
from pilarnet_convert.export.cli import export_command
from pilarnet_convert.export.exporting import FORMATS, export
from pilarnet_convert.options import OptionError
from pilarnet_convert.shards.format import ARRAYS, SPLITS, VOXEL_ARRAYS
from pilarnet_convert.shards.reader import Shards
from tests.pilarnet_convert.inputs import MODERN, QUIRKS
from tests.pilarnet_convert.outputs import contents, read_particles
from tests.sample import SAMPLE

VECTORS = ("momentum", "start", "end", "origin")
SCALARS = tuple(n for n in ARRAYS if n not in (*VOXEL_ARRAYS, *VECTORS, "offset"))

#: By class, from the description of PILArNet-M: particle class, semantic class, and mass in MeV.
PID = {0: 1, 1: 4, 2: 0, 3: 2, 4: 3}
MASS = {0: 0.511, 1: 938.272, 2: 0.0, 3: 105.658, 4: 139.570}
SEMANTIC = {1: 1, 2: 0, 3: 1, 4: 1}
SEMANTIC_OF_ELECTRON = {"primary": 0, "muIoni": 3, "hIoni": 3}
SEMANTIC_OF_ELECTRON |= {"Decay": 2, "muMinusCaptureAtRest": 2}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Two files, cut into several shards per split."""
    out = tmp_path_factory.mktemp("export") / "shards"
    return convert([SAMPLE, QUIRKS], out, events_per_shard=8, workers=1)


@pytest.fixture(scope="module")
def rows(shards: Shards) -> dict[str, list[dict[str, Any]]]:
    """The particles of each split, as zarr-python reads them."""
    every = read_particles(shards.path)
    return {split: [row for row in every if row["split"] == split] for split in SPLITS}


def run(*args: object) -> Result:
    return CliRunner().invoke(export_command, [str(arg) for arg in args])


def test_npz_a_file_a_particle(shards: Shards, rows: dict[str, Any], tmp_path: Path):
    out = export(shards, tmp_path / "npz", format="npz")
    for split in SPLITS:
        files = sorted((out / split).glob("*/*.npz"))
        assert [int(file.stem) for file in files] == list(range(len(rows[split])))
        for file, row in zip(files, rows[split], strict=True):
            with np.load(file) as found:
                assert found["xyz"].dtype == np.uint16
                assert np.array_equal(found["xyz"], np.stack([row[a] for a in "xyz"], axis=1))
                assert np.array_equal(found["energy"], row["energy"])
                assert all(found[name] == row[name] for name in SCALARS)
                assert all(np.array_equal(found[n], row[n], equal_nan=True) for n in VECTORS)


def test_parquet_a_row_a_particle(shards: Shards, rows: dict[str, Any], tmp_path: Path):
    out = export(shards, tmp_path / "parquet", format="parquet")
    for split in SPLITS:
        table = polars.read_parquet(out / f"{split}.parquet")
        assert table.columns == [name for name in ARRAYS if name != "offset"]
        assert table.schema["x"] == polars.List(polars.UInt16)
        assert table.schema["energy"] == polars.List(polars.Float32)
        assert table.schema["momentum"] == polars.Array(polars.Float32, 3)
        array = ak.from_parquet(out / f"{split}.parquet")
        assert len(table) == len(array) == len(rows[split])
        for found, lists, row in zip(table.iter_rows(named=True), array, rows[split], strict=True):
            for name in VOXEL_ARRAYS:
                assert found[name] == row[name].tolist()
                assert np.array_equal(lists[name], row[name])
            assert all(found[name] == lists[name] == row[name] for name in SCALARS)
            for name in VECTORS:
                assert np.array_equal(found[name], row[name], equal_nan=True)
                assert np.array_equal(lists[name], row[name], equal_nan=True)


@pytest.mark.parametrize("name", FORMATS)
def test_several_sets_are_exported_whole(
    shards: Shards, rows: dict[str, Any], tmp_path: Path, name: str
):
    other = convert(MODERN, tmp_path / "other", events_per_shard=8, workers=1)
    joined = open_shards([shards.path, other.path])
    out = export(joined, tmp_path / "out", format=name)
    again: dict[str, list[Any]] = {split: [] for split in SPLITS}
    for row in read_particles(other.path):
        again[row["split"]].append(row)
    for split in SPLITS:
        expected = [*rows[split], *again[split]]
        energy = np.concatenate([row["energy"] for row in expected])
        if name == "npz":
            files = sorted((out / split).glob("*/*.npz"))
            found = np.concatenate([np.load(file)["energy"] for file in files])
        elif name == "parquet":
            found = polars.read_parquet(out / f"{split}.parquet")["energy"].explode().to_numpy()
        else:
            points = [row["point"].reshape(-1, 8) for row in _flat_rows(out / split, "v3")]
            found = np.concatenate(points)[:, 3]
        assert np.array_equal(found, energy)


def _events(particles: list[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    events: dict[tuple[int, int], list[dict[str, Any]]] = {}
    for row in particles:
        events.setdefault((row["source"], row["entry"]), []).append(row)
    return list(events.values())


def _flat_rows(folder: Path, revision: str) -> Iterator[dict[str, Any]]:
    """Read the events of a split as readers of PILArNet-M open them."""
    for path in sorted(folder.glob("*.h5")):
        with h5py.File(path, "r", libver="latest", swmr=True) as file:
            number = len(file["point"])
            assert path.name.endswith(f"_{number}_{revision}.h5")
            points = np.load(path.with_name(f"{path.stem}_points.npy"))
            assert points.tolist() == [len(file["point"][i]) // 8 for i in range(number)]
            for i in range(number):
                yield {name: file[name][i] for name in file}


def _ancestor(row: dict[str, Any], event: list[dict[str, Any]]) -> dict[str, Any] | None:
    while row["track_id"] != row["parent_track_id"]:
        above = [r for r in event if r["track_id"] == row["parent_track_id"]]
        if not above:
            return None
        (row,) = above
    return row


def test_pilarnet_m_event_by_event(shards: Shards, rows: dict[str, Any], tmp_path: Path):
    out = export(shards, tmp_path / "pilarnet-m", format="pilarnet-m")
    seen = set()
    for split in SPLITS:
        events = _events(rows[split])
        found = list(_flat_rows(out / split, "v3"))
        assert len(found) == len(events)
        for flat, event in zip(found, events, strict=True):
            seen |= _check_event(flat, event)
    assert seen == {0, 1, 2, 3}  # all semantic classes but that of low-energy deposits


def _check_event(flat: dict[str, Any], event: list[dict[str, Any]]) -> set[int]:
    point = flat["point"].reshape(-1, 8)
    cluster = flat["cluster"].reshape(-1, 6)
    extra = flat["cluster_extra"].reshape(-1, 6)
    lineage = flat["cluster_extra_2"].reshape(-1, 5)
    interactions = {int(i): xyz for i, *xyz in flat["interaction_extra"].reshape(-1, 4)}
    assert cluster.dtype.kind == "i"  # readers slice with it
    assert list(flat["run_subrun_event"]) == [event[0][n] for n in ("run", "subrun", "event")]
    # The first cluster is that of low-energy deposits, without points.
    assert cluster[0].tolist() == [0, -1, -1, -1, 4, -1]
    assert (extra[0] == -1).all()
    assert (lineage[0] == -1).all()
    assert len(cluster) == len(extra) == len(lineage) == len(event) + 1
    ends = np.cumsum(cluster[:, 0])
    assert ends[-1] == len(point)
    for i, row in enumerate(event, 1):
        voxels = np.stack([row[n] for n in ("x", "y", "z", "energy", "energy")], axis=1)
        assert np.array_equal(point[ends[i - 1] : ends[i], :5], voxels.astype(np.float32))
        semantic = SEMANTIC.get(row["label"])
        if semantic is None:
            semantic = SEMANTIC_OF_ELECTRON[row["process"]]
        primary = _ancestor(row, event)
        expected = [len(row["x"]), row["cluster"], row["cluster"], semantic, PID[row["label"]]]
        assert cluster[i, [0, 1, 2, 4, 5]].tolist() == expected
        momentum = row["momentum"].astype(float) / 1000
        assert np.isclose(extra[i, 0], MASS[row["label"]], atol=1e-3)
        assert np.isclose(extra[i, 1], np.linalg.norm(momentum), rtol=1e-5)
        assert extra[i, 5] == (row["track_id"] == row["parent_track_id"])
        assert np.allclose(lineage[i, :3], momentum, rtol=1e-5)
        assert lineage[i, 4] == row["parent_track_id"]
        parents = [
            r["pdg"] for r in event if r["track_id"] == row["parent_track_id"] and r is not row
        ]
        assert lineage[i, 3] == (parents[0] if parents else -1)
        if primary is None:
            assert cluster[i, 3] == -1
            assert (extra[i, 2:5] == -1).all()
        else:
            vertex = (primary["start"].astype(float) - primary["origin"]) / 0.3
            assert np.allclose(extra[i, 2:5], vertex, atol=1e-3)
            assert np.allclose(interactions[cluster[i, 3]], vertex, atol=1e-3)
    return set(cluster[1:, 4].tolist())


def test_pilarnet_m_for_the_loader_of_polar_mae(
    shards: Shards, rows: dict[str, Any], tmp_path: Path
):
    out = export(shards, tmp_path / "v1", format="pilarnet-m", revision="v1", splits=["train"])
    events = _events(rows["train"])
    for flat, event in zip(_flat_rows(out / "train", "v1"), events, strict=True):
        assert set(flat) == {"point", "cluster"}
        size, semantic = flat["cluster"].reshape(-1, 5)[:, [0, -1]].T
        assert semantic[0] == 4
        point = flat["point"].reshape(-1, 8)[size[0] :]
        energy = np.split(point[:, 3], np.cumsum(size[1:])[:-1])
        for values, row in zip(energy, event, strict=True):
            assert np.array_equal(values, row["energy"])


@given(
    st.lists(st.tuples(st.integers(0, 2), st.integers(-1, 6), st.integers(-1, 6)), min_size=1).map(
        lambda tracks: sorted({(event, track): parent for event, track, parent in tracks}.items())
    )
)
@example([((0, 1), 2), ((0, 2), 1)])
@example([((0, 1), 1), ((0, 2), 1), ((0, 3), 2), ((0, 4), 3), ((1, 5), 1)])
def test_ancestors_of_any_tracks(tracks: list[tuple[tuple[int, int], int]]):
    """Tracks with and without parents, unknown ones, and parents that form a cycle."""
    event, track = np.array([key for key, _ in tracks]).T
    parent = np.array([parent for _, parent in tracks])
    start = np.arange(3 * len(tracks)).reshape(-1, 3)
    block = {"track_id": track, "parent_track_id": parent, "start": start, "origin": 0 * start}
    found = pilarnet_m._parents(event, block)
    _, vertex, _ = pilarnet_m._interactions(event, found, block, np.ones(3))
    place = {key: i for i, (key, _) in enumerate(tracks) if key[1] >= 0}
    for i, ((number, _), above) in enumerate(tracks):
        assert found[i] == place.get((number, above), len(tracks))
        row = i
        for _ in tracks:
            row = found[row] if row < len(tracks) else row
        is_primary = row < len(tracks) and found[row] == row
        assert np.array_equal(vertex[i], start[row] if is_primary else [-1] * 3)


def test_pilarnet_m_is_converted_back(shards: Shards, rows: dict[str, Any], tmp_path: Path):
    out = export(shards, tmp_path / "pilarnet-m", format="pilarnet-m", splits=["train"])
    back = convert(out, tmp_path / "shards", splits="train=1", min_voxels=1, workers=1)
    assert len(back) == len(rows["train"])
    for found, row in zip(back, rows["train"], strict=True):
        assert np.array_equal(found.xyz, np.stack([row[axis] for axis in "xyz"], axis=1))
        assert np.array_equal(found.energy, row["energy"])
        assert found.label == row["label"]
        assert np.allclose(found["momentum"], row["momentum"], rtol=1e-5)
        assert found["parent_track_id"] == row["parent_track_id"]


def test_what_an_export_says_of_itself(shards: Shards, tmp_path: Path):
    out = tmp_path / "out"
    result = run(shards.path, "--format", "parquet", "--out", out, *["--split", "test"] * 2)
    assert result.exit_code == 0
    count = len(shards["test"])
    assert result.output.startswith(f"wrote {out}: {count} particles, ")
    about = json.loads((out / "export.json").read_text())
    assert about["particles"] == {"test": count}
    assert about["shards"]["checksum"] == shards.identity
    assert [source["name"] for source in about["shards"]["sources"]] == [SAMPLE.name, QUIRKS.name]


def test_an_earlier_export_is_replaced_when_asked(shards: Shards, tmp_path: Path):
    out = export(shards, tmp_path / "out", format="parquet")
    before = contents(out)
    arguments = (shards.path, "--format", "npz", "--split", "val", "--out", out)
    result = run(*arguments)
    assert result.exit_code == 1
    assert f"{out}: --out: exists already; replace it with --overwrite" in result.stderr
    assert contents(out) == before
    assert run(*arguments, "--overwrite").exit_code == 0
    assert sorted(path.name for path in out.iterdir()) == ["export.json", "val"]


def test_a_folder_of_something_else_is_never_replaced(shards: Shards, tmp_path: Path):
    (tmp_path / "export.json").write_text('{"format": "csv"}')
    before = contents(shards.path)
    for out in (tmp_path, shards.path, shards.path / "train"):
        result = run(shards.path, "--format", "npz", "--out", out, "--overwrite")
        assert result.exit_code == 1
        assert "exists already; choose another --out" in result.stderr
    assert (tmp_path / "export.json").read_text() == '{"format": "csv"}'
    assert contents(shards.path) == before


def test_wrong_usage(shards: Shards, tmp_path: Path):
    out = tmp_path / "out"
    assert run(shards.path, "--format", "csv", "--out", out).exit_code == 2
    result = run(shards.path, "--format", "npz", "--split", "all", "--out", out)
    assert (result.exit_code, "'all' is not one of" in result.stderr) == (2, True)
    with pytest.raises(OptionError, match=r"--split: .*one of train, val, test, found all"):
        export(shards, out, format="npz", splits=["all"])
    result = run(tmp_path / "none", "--format", "npz", "--out", out)
    assert (result.exit_code, "no such folder" in result.stderr) == (1, True)
    assert not out.exists()


def test_nothing_to_write(tmp_path: Path):
    shards = convert(SAMPLE, tmp_path / "shards", splits="train=1", max_events=2, workers=1)
    result = run(shards.path, "--format", "npz", "--split", "val", "--out", tmp_path / "out")
    assert (result.exit_code, "no particles in val" in result.stderr) == (1, True)


def test_a_missing_package(shards: Shards, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(exporting, "find_spec", lambda _name: None)
    with pytest.raises(MissingDependencyError, match=r"h5py, .* pip install 'pilarnet-clr"):
        export(shards, tmp_path / "out", format="pilarnet-m")


@contextmanager
def _largest_file(num_bytes: int) -> Iterator[None]:
    """Make writes beyond so many bytes of a file fail, as on a full disk."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (num_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("name", FORMATS)
def test_a_failed_write_leaves_nothing(shards: Shards, tmp_path: Path, name: str):
    with _largest_file(2000):
        result = run(shards.path, "--format", name, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert result.stderr == f"error: {tmp_path / 'out'}: --out: File too large\n"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("size", [1, 10])
def test_small_blocks_hold_the_same_events(
    shards: Shards, tmp_path: Path, size: int, monkeypatch: pytest.MonkeyPatch
):
    whole = export(shards, tmp_path / "whole", format="pilarnet-m", splits=["test"])
    monkeypatch.setattr("pilarnet_convert.export.pilarnet_m.BLOCK", size)
    parts = export(shards, tmp_path / "parts", format="pilarnet-m", splits=["test"])
    every = zip(_flat_rows(whole / "test", "v3"), _flat_rows(parts / "test", "v3"), strict=True)
    assert all(np.array_equal(a[name], b[name]) for a, b in every for name in a)
