"""Whatever the order, the tasks and the parts: good sources are converted whole, bad ones not."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilarnet_convert import conversion, convert, convert_part, open_shards, verify
from pilarnet_convert.errors import InputError
from tests import damage
from tests.pilarnet_convert.faults import FAULTS
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.outputs import read_particles, run_convert
from tests.sample import SAMPLE

NUM_OF_KIND = 3
OPTIONS: dict[str, Any] = {"splits": "train=1", "workers": 1}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder of sources: good, unreadable, and with a fault in the last event."""
    folder = tmp_path_factory.mktemp("sources")
    for number in range(NUM_OF_KIND):
        good = folder / f"good{number}.root"
        good.write_bytes(SAMPLE.read_bytes())
        damage.with_own_uuid(good)
        damage.with_own_uuid(FAULTS["nan-in-a-voxel"].make(folder / f"late{number}.root"))
        damage.empty(folder / f"nothing{number}.root")
    return folder


@pytest.fixture(scope="module")
def wanted(files: Path) -> dict[str, set[tuple[str, int, int]]]:
    """Return the particles of each good source: its name, and the entry and cluster of each."""
    found = {}
    for path in sorted(files.glob("good*.root")):
        convert(path, files / path.stem, **OPTIONS)
        found[path.name] = particles_of(files / path.stem)
    return found


def particles_of(out: Path) -> set[tuple[str, int, int]]:
    sources = open_shards(out).attributes["sources"]
    return {
        (sources[row["source"]]["name"], int(row["entry"]), int(row["cluster"]))
        for row in read_particles(out)
    }


@settings(max_examples=6)
@given(
    names=st.lists(
        st.sampled_from(
            [f"{kind}{n}.root" for kind in ("good", "late", "nothing") for n in range(NUM_OF_KIND)]
        ),
        min_size=1,
        max_size=6,
        unique=True,
    ),
    events_per_shard=st.sampled_from([None, 6, 11, 33]),
    num_parts=st.integers(0, 3),
)
def test_bad_sources_are_left_out(
    files: Path,
    wanted: dict[str, set[tuple[str, int, int]]],
    names: list[str],
    events_per_shard: int | None,
    num_parts: int,
):
    def convert_all(out: Path) -> None:
        for number in range(1, num_parts + 1):
            convert_part(inputs, out, part=f"{number}/{num_parts}", **options)
        if not num_parts:
            convert(inputs, out, **options)

    inputs = [files / name for name in names]
    options = {"events_per_shard": events_per_shard, "skip_bad_files": True, **OPTIONS}
    good = [name for name in names if name.startswith("good")]
    with TemporaryDirectory() as folder:
        out = Path(folder) / "shards"
        if not good:
            with pytest.raises(InputError, match=r"^no input can be converted \(found"):
                convert_all(out)
            return
        convert_all(out)
        assert particles_of(out) == set().union(*(wanted[name] for name in good))
        assert [bad["name"] for bad in open_shards(out).attributes["bad_files"]] == [
            *(name for name in names if name.startswith("nothing")),
            *(name for name in names if name.startswith("late")),
        ]
        assert verify(out) == []


def test_a_file_that_vanishes_is_a_bad_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    file = tmp_path / "a.root"
    index = conversion.index_inputs

    def index_and_remove(*args: Any, **options: Any) -> Any:
        indexed = index(*args, **options)
        file.unlink()
        return indexed

    monkeypatch.setattr(conversion, "index_inputs", index_and_remove)
    arguments = ("--input", file, QUIRKS, "--out", tmp_path / "out", "--workers", 1)
    shutil.copy(SAMPLE, file)
    result = run_convert(*arguments)
    assert result.exit_code == 1
    says = f"{file}: cannot be opened (found No such file or directory); check the path"
    assert result.stderr == f"error: {says}\n"
    shutil.copy(SAMPLE, file)
    assert run_convert(*arguments, "--skip-bad-files").exit_code == 3
    assert {name for name, _, _ in particles_of(tmp_path / "out")} == {QUIRKS.name}


def test_a_named_pipe_is_not_waited_for(tmp_path: Path):
    os.mkfifo(tmp_path / "a.root")
    result = run_convert("--input", tmp_path, "--out", tmp_path / "out")
    says = f"{tmp_path}/a.root: cannot be opened (found a pipe, not a file); check the path"
    assert (result.exit_code, result.stderr) == (1, f"error: {says}\n")


def test_no_input_at_all(tmp_path: Path):
    with pytest.raises(InputError, match=r"^no input can be converted \(found none\)$"):
        convert([], tmp_path / "out")
