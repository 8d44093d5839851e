"""Damaged input: one line that says what is wrong and what to do, and no shard of it."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert import convert, plan
from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.larcv2 import Larcv2Reader, index_larcv2
from pilarnet_convert.runner import TaskRunner
from tests import damage
from tests.pilarnet_convert.faults import FAULTS, Fault
from tests.pilarnet_convert.inputs import QUIRKS, SPLIT
from tests.pilarnet_convert.outputs import (
    contents,
    run_convert,
    run_stats,
    shard_groups,
)
from tests.sample import SAMPLE


@pytest.fixture
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make small tasks: other shards are written before damage in the last event is found."""
    monkeypatch.setattr(plan, "TASK_BYTES", 100_000)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a good file and, in ``shards``, what is made of it."""
    folder = tmp_path_factory.mktemp("good")
    (folder / "good.root").write_bytes(SAMPLE.read_bytes())
    arguments = ("--input", folder / "good.root", "--out", folder / "shards", "--workers", 1)
    assert run_convert(*arguments).exit_code == 0
    return folder


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_one_line_and_the_rest_on_request(tmp_path: Path, good: Path, fault: Fault):
    bad = fault.make(tmp_path / "bad file.root")
    out = tmp_path / "shards"
    result = run_convert("--input", bad, "--out", out, "--workers", 1)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {bad}: ")
    position = 0
    for text in fault.says:
        assert text in line[position:]
        position = line.index(text, position)
    assert not out.exists() or contents(out) == {}

    result = run_convert(
        *("--input", bad, good / "good.root", "--out", out, "--workers", 1, "--skip-bad-files"),
    )
    assert result.exit_code == 3
    assert result.stderr == "error: left out 1 of the inputs, see above\n"
    reported = line.removeprefix("error: ").replace(str(bad), bad.name)
    assert f"left out: {reported}" in result.stdout.splitlines()
    ours, theirs = contents(out), contents(good / "shards")
    assert ours.keys() == theirs.keys()
    differing = {name for name in ours if ours[name] != theirs[name]}
    assert {"source" if "/source/" in name else name for name in differing} <= {
        *("source", "zarr.json")  # the bad file may have been given the first index
    }
    root = json.loads((out / "zarr.json").read_text())["attributes"]
    sources = {i for group in shard_groups(out) for i in group["source"][...].tolist()}
    assert [root["sources"][i]["name"] for i in sources] == ["good.root"]
    assert root["bad_files"] == [{"name": bad.name, "error": reported}]
    assert root["statistics"]["clusters_seen"] == 254
    report = json.loads(run_stats(out, "--format", "json").stdout)
    assert report["bad_files"] == root["bad_files"]


@pytest.mark.usefixtures("_small_tasks")
def test_what_is_left_is_valid(tmp_path: Path):
    bad = FAULTS["nan-in-a-voxel"].make(tmp_path / "a.root")
    out = tmp_path / "shards"
    result = run_convert("--input", bad, SAMPLE, "--out", out, "--skip-bad-files", "--workers", 1)
    assert result.exit_code == 3
    result = run_stats(out, "--verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.count("left out: a.root: entry 19") == 1


@pytest.mark.usefixtures("_small_tasks")
@pytest.mark.parametrize("workers", [1, 2])
def test_bad_files_stand_in_the_order_of_the_inputs(tmp_path: Path, workers: int):
    """The report is the same whichever worker finds which fault first."""
    late = FAULTS["nan-in-a-voxel"].make(tmp_path / "late.root")
    twice = damage.with_energy(
        late, tmp_path / "twice.root", entry=2, cluster=0, voxel=0, value=np.inf
    )
    damage.with_own_uuid(twice)
    nothing = damage.empty(tmp_path / "nothing.root")
    out = tmp_path / "shards"
    result = run_convert(
        *("--input", late, nothing, SAMPLE, twice, "--out", out, "--skip-bad-files"),
        *("--workers", workers),
    )
    assert result.exit_code == 3
    found = json.loads((out / "zarr.json").read_text())["attributes"]["bad_files"]
    assert [bad["name"] for bad in found] == ["nothing.root", "late.root", "twice.root"]
    assert "entry 19" in found[1]["error"]
    assert "entry 2:" in found[2]["error"]


def test_all_bad(tmp_path: Path):
    bad = damage.not_root(tmp_path / "a.root"), damage.empty(tmp_path / "b.root")
    out = tmp_path / "shards"
    result = run_convert("--input", *bad, "--out", out, "--skip-bad-files", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "no input can be converted" in line
    assert all(str(path) in line for path in bad)
    assert not out.exists()


def test_bad_only_in_its_events(tmp_path: Path):
    """If the only source turns out to be bad late, nothing is left."""
    bad = FAULTS["-inf-in-a-voxel"].make(tmp_path / "a.root")
    out = tmp_path / "shards"
    result = run_convert("--input", bad, "--out", out, "--skip-bad-files", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: no input can be converted (found a.root: entry 19: ")
    assert contents(out) == {}


def test_two_bad_sources_in_one_task(tmp_path: Path, good: Path):
    bad = [FAULTS["nan-in-a-voxel"].make(tmp_path / f"{name}.root") for name in "ab"]
    damage.with_own_uuid(bad[1])
    out = tmp_path / "shards"
    arguments = ("--input", bad[0], good / "good.root", bad[1], "--out", out)
    result = run_convert(*arguments, "--skip-bad-files", "--workers", 1)
    assert result.exit_code == 3
    root = json.loads((out / "zarr.json").read_text())["attributes"]
    assert [one["name"] for one in root["bad_files"]] == ["a.root", "b.root"]
    assert root["statistics"]["clusters_seen"] == 254


@pytest.mark.usefixtures("_small_tasks")
def test_resumed_without_skipping_a_bad_file_is_an_error(tmp_path: Path):
    bad = FAULTS["nan-in-a-voxel"].make(tmp_path / "a.root")
    damage.with_own_uuid(bad)
    out = tmp_path / "shards"
    arguments = ("--input", SAMPLE, bad, "--out", out, "--workers", 1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskRunner, "finish", stop)
        assert run_convert(*arguments, "--skip-bad-files").exit_code == 1
    result = run_convert(*arguments, "--resume")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {bad}: entry 19: ")
    assert not (out / "zarr.json").exists()
    assert run_convert(*arguments, "--resume", "--skip-bad-files").exit_code == 3
    assert run_stats(out, "--verify").exit_code == 0


def stop(*_: object) -> None:
    raise OSError("stopped before the root is written")


@pytest.mark.usefixtures("_small_tasks")
def test_the_root_does_not_depend_on_where_a_bad_file_lies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    late = FAULTS["nan-in-a-voxel"].make(tmp_path / "late.root")
    damage.with_own_uuid(late)
    inputs = [damage.empty(tmp_path / "nothing.root"), SAMPLE, late]
    convert(inputs, tmp_path / "one", workers=1, skip_bad_files=True)
    monkeypatch.chdir(tmp_path)
    with ThreadPoolExecutor(2) as pool:
        names = ["nothing.root", SAMPLE, "late.root"]
        convert(names, tmp_path / "two", executor=pool, skip_bad_files=True)
    assert contents(tmp_path / "one") == contents(tmp_path / "two")


@pytest.mark.usefixtures("_small_tasks")
def test_finished_shards_stay_when_a_later_file_is_bad(tmp_path: Path):
    bad = FAULTS["-inf-in-a-voxel"].make(tmp_path / "bad.root")
    out = tmp_path / "shards"
    arguments = ("--input", SAMPLE, bad, "--out", out)
    result = run_convert(*arguments, "--workers", 1)
    assert result.exit_code == 1
    assert len(result.stderr.splitlines()) == 1
    assert (out / "train" / "00000" / "zarr.json").exists()
    result = run_stats(out)
    assert result.exit_code == 1
    assert "unfinished" in result.stderr
    arguments = ("--input", SAMPLE, "--out", out, "--workers", 1, "--overwrite")
    assert run_convert(*arguments).exit_code == 0
    assert run_stats(out, "--verify").exit_code == 0


@pytest.mark.parametrize("code", [0, 12345678, 2000000101])
def test_a_code_that_names_no_particle_is_another_species(tmp_path: Path, code: int):
    path = damage.with_pdg(SAMPLE, tmp_path / "a.root", entry=19, particle=0, value=code)
    out = tmp_path / "shards"
    result = run_convert("--input", path, "--out", out, "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    species = json.loads(run_stats(out, "--format", "json").stdout)["other_species"]
    assert {"pdg": code, "name": "", "clusters": 1} in [
        {k: v for k, v in row.items() if k != "fraction"} for row in species
    ]
    assert f" {code} (no known particle) 1 " in " ".join(run_stats(out).stdout.split())


@pytest.mark.parametrize("missing", ["cluster", "particle"])
def test_a_missing_companion(tmp_path: Path, missing: str):
    names = {
        "cluster": "cluster/dlprod_cluster_512px_00.root",
        "particle": "particle/dlprod_particle_512px_00.root",
        "image": "dlprod_512px_00.root",
    }
    for product, name in names.items():
        if product != missing:
            target = tmp_path / name
            target.parent.mkdir(exist_ok=True)
            target.write_bytes((SPLIT.parent / name).read_bytes())
    (other,) = {"cluster", "particle"} - {missing}
    for named in (names["image"], names[other]):
        result = run_convert(
            *("--input", tmp_path / named, "--out", tmp_path / "shards", "--workers", 1)
        )
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert str(tmp_path / named) in line
        assert "a product is missing" in line
        assert "in cluster/ or particle/" in line
        assert line.count("sparse3d_data_tree") == 1  # each file is looked into once


def test_companions_of_another_production(tmp_path: Path):
    for name in ("cluster", "particle"):
        (tmp_path / name).mkdir()
    clusters = SPLIT.parent / "cluster" / "dlprod_cluster_512px_00.root"
    particles = SPLIT.parent / "particle" / "dlprod_particle_512px_00.root"
    (tmp_path / "cluster" / clusters.name).write_bytes(clusters.read_bytes())
    damage.with_id(
        particles,
        tmp_path / "particle" / particles.name,
        tree=damage.PARTICLES,
        entry=14,
        field="event",
        value=3,
    )
    out = tmp_path / "shards"
    result = run_convert(
        *("--input", tmp_path / "cluster", "--out", out, "--workers", 1),
    )
    assert result.exit_code == 1
    assert "particle/dlprod_particle_512px_00.root: entry 14" in result.stderr
    assert "different events" in result.stderr
    assert contents(out) == {}


def test_bytes_broken_anywhere_are_an_input_error_or_harmless(tmp_path: Path):
    """Whatever eight bytes a bad disk changes, the only error is an `InputError`."""
    whole = QUIRKS.read_bytes()
    random = np.random.default_rng(20)
    path = tmp_path / "a.root"
    errors = []
    tail = np.flatnonzero(np.frombuffer(whole, np.uint8))[-30_000:]  # the metadata of the trees
    for number in range(12):
        data = bytearray(whole)
        at = int(random.choice(tail)) if number % 2 else int(random.integers(0, len(data) - 8))
        data[at : at + 8] = random.bytes(8)
        path.write_bytes(data)
        try:
            index = index_larcv2("a", [path])
            with Larcv2Reader(index) as reader:
                reader.read(0, index.num_entries)
        except InputError as error:
            errors.append(str(error))
    assert len(errors) > 1
    assert all(str(path) in error for error in errors)
