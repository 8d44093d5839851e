"""A conversion in parts: the same bytes whatever their number, order and interruptions."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pilarnet_convert import convert, convert_part, open_shards, verify
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.output.folder import OutputFolder
from pilarnet_convert.runner import TaskRunner
from pilarnet_convert.task import TaskRecord
from tests import damage
from tests.pilarnet_convert.inputs import MODERN, QUIRKS
from tests.pilarnet_convert.killing import Death, dying
from tests.pilarnet_convert.outputs import contents, environment, run_convert
from tests.sample import SAMPLE

INPUTS = [SAMPLE, QUIRKS]
OPTIONS: dict[str, Any] = {"workers": 1, "events_per_shard": 9, "min_voxels": 5, "max_events": 36}
ARGUMENTS = ("--events-per-shard", 9, "--min-voxels", 5, "--max-events", 36, "--workers", 1)
NUM_TASKS = 4


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    out = tmp_path_factory.mktemp("wanted") / "shards"
    convert(INPUTS, out, **OPTIONS)
    assert len(list((out / "train").glob("*/"))) == NUM_TASKS
    return contents(out)


def run_part(out: Path, number: int, count: int) -> list[str]:
    return convert_part(INPUTS, out, part=f"{number}/{count}", **OPTIONS)


@st.composite
def schedules(draw: st.DrawFn) -> tuple[int, list[tuple[int, int | None]]]:
    """Return how many parts there are, and which run in what order and are killed at which step."""
    count = draw(st.integers(1, NUM_TASKS + 2))
    killed = draw(st.lists(st.tuples(st.integers(1, count), st.integers(0, 600)), max_size=3))
    whole = [(number, None) for number in draw(st.permutations(range(1, count + 1)))]
    order = draw(st.permutations([*killed, *whole]))
    return count, list(order)


@settings(max_examples=8)
@given(schedule=schedules())
def test_any_number_and_order_of_parts_killed_at_any_step(
    tmp_path_factory: pytest.TempPathFactory,
    wanted: dict[str, Any],
    schedule: tuple[int, list[tuple[int, int | None]]],
):
    count, order = schedule
    out = tmp_path_factory.mktemp("parts") / "shards"
    left = set(range(1, count + 1))
    for number, steps in order:
        try:
            with dying(out, after=steps):
                missing = run_part(out, number, count)
        except Death:
            continue
        left.discard(number)
        # A part that has no task is never missing; a killed one may have done all of its tasks.
        assert {int(part.split("/")[0]) for part in missing} <= left
        assert (out / "zarr.json").exists() == (not missing)
    assert contents(out) == wanted


def test_missing_parts_are_named_and_resume_does_their_work(tmp_path: Path, wanted: dict[str, Any]):
    out = tmp_path / "shards"
    base = ("--input", *INPUTS, "--out", out, *ARGUMENTS)
    result = run_convert(*base, "--part", "2/4")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout == "part 2/4 is done; missing: 1/4, 3/4, 4/4\n"
    with pytest.raises(PilarnetError, match="the conversion is unfinished"):
        open_shards(out)
    (out / ".conversion/begun/tasks/._00000.json").touch()  # as macOS leaves beside each file
    result = run_convert(*base, "--part", "4/4", "--resume")
    assert result.stdout == "part 4/4 is done; missing: 1/4, 3/4\n"
    result = run_convert(*base)
    assert "already holds an unfinished conversion; continue with --resume" in result.stderr
    result = run_convert(*base, "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    assert contents(out) == wanted
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    result = run_convert(*base, "--part", "1/4")  # it was late: nothing is left to do
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("36 events of 2 sources")
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("part", "says"),
    [
        ("0/4", "--part: no such part (expected 1/4 to 4/4, found 0/4)"),
        ("5/4", "--part: no such part (expected 1/4 to 4/4, found 5/4)"),
        ("1/0", "--part: no such part (expected I/N with I from 1 to N, found 1/0)"),
        ("3", "--part: not a part (expected such as 2/5, found 3)"),
        ("-1/4", "--part: no such part (expected 1/4 to 4/4, found -1/4)"),
        ("a/b", "--part: not a part (expected such as 2/5, found a/b)"),
        ("1/" + "9" * 5000, f"--part: not a part (expected such as 2/5, found 1/{'9' * 5000})"),
    ],
)
def test_part_out_of_range(tmp_path: Path, part: str, says: str):
    result = run_convert("--input", SAMPLE, "--out", tmp_path / "out", "--part", part)
    assert (result.exit_code, result.stdout, result.stderr) == (2, "", f"error: {says}\n")
    assert not (tmp_path / "out").exists()


def test_a_part_does_not_overwrite(tmp_path: Path):
    result = run_convert(
        "--input", SAMPLE, "--out", tmp_path / "out", "--part", "1/2", "--overwrite"
    )
    assert result.exit_code == 2
    assert result.stderr.startswith("error: --part and --overwrite exclude each other; choose ano")


@pytest.mark.parametrize("finished", [False, True])
@pytest.mark.parametrize(
    ("other", "says"),
    [
        ({"min_voxels": 7}, "other options (expected min_voxels 5, found min_voxels 7)"),
        ({"max_events": 30}, "other options"),
        ({"inputs": [SAMPLE, MODERN]}, "other sources"),
    ],
)
def test_two_conversions_in_one_folder(
    tmp_path: Path, finished: bool, other: dict[str, Any], says: str
):
    out = tmp_path / "shards"
    for number in (1, 2) if finished else (1,):
        run_part(out, number, 2)
    before = contents(out)
    options = {**OPTIONS, "inputs": INPUTS, **other}
    with pytest.raises(PilarnetError) as error:
        convert_part(out=out, part="2/2", **options)
    assert says in str(error.value)
    assert contents(out) == before


def test_parts_begun_at_the_same_moment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Two parts of different conversions find an empty folder; one of them is refused."""
    out = tmp_path / "shards"
    begin = TaskRunner.begin

    def overtaken(runner: TaskRunner) -> None:
        monkeypatch.setattr(TaskRunner, "begin", begin)
        run_part(out, 1, 2)
        begin(runner)

    monkeypatch.setattr(TaskRunner, "begin", overtaken)
    with pytest.raises(PilarnetError, match="has other options"):
        convert_part(INPUTS, out, part="2/2", **OPTIONS | {"min_voxels": 8})
    assert run_part(out, 2, 2) == []


def test_all_at_the_same_time(tmp_path: Path, wanted: dict[str, Any]):
    """Two parts, one of them twice, as when a batch system starts a job again, and --resume."""
    out = tmp_path / "shards"
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from pilarnet_convert import convert, convert_part\n"
        "Path(sys.argv[1]).touch()\n"
        "while not Path(sys.argv[2]).exists(): time.sleep(0.01)\n"
        f"inputs, options = {[str(path) for path in INPUTS]}, {OPTIONS}\n"
        "if sys.argv[4] != 'resume':\n"
        "    convert_part(inputs, sys.argv[3], part=sys.argv[4], **options)\n"
        "else:\n"
        "    begun = [Path(sys.argv[3], name) for name in ('.conversion/begun', 'zarr.json')]\n"
        "    while not any(path.exists() for path in begun): time.sleep(0.01)\n"
        "    convert(inputs, sys.argv[3], resume=True, **options)\n"
    )
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, tmp_path / f"ready{n}", tmp_path / "go", out, part],
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )
        for n, part in enumerate(["1/2", "2/2", "2/2", "resume"])
    ]
    while not all((tmp_path / f"ready{n}").exists() for n in range(len(processes))):
        assert all(process.poll() is None for process in processes)
        time.sleep(0.01)
    (tmp_path / "go").touch()
    for process in processes:
        assert (process.communicate()[1], process.returncode) == ("", 0)
    assert contents(out) == wanted


def test_a_bad_file_in_one_part(tmp_path: Path, wanted: dict[str, Any]):
    bad = damage.with_energy(
        SAMPLE, tmp_path / "bad.root", entry=19, cluster=0, voxel=0, value=float("nan")
    )
    options = {**OPTIONS, "max_events": None}
    whole, out = tmp_path / "whole", tmp_path / "parts"
    inputs = [bad, QUIRKS]
    convert(inputs, whole, skip_bad_files=True, **options)
    for number in (2, 1, 4, 5):
        assert convert_part(inputs, out, part=f"{number}/5", skip_bad_files=True, **options)
    with pytest.raises(PilarnetError, match="a voxel has no finite energy"):
        convert_part(inputs, out, part="3/5", **options)
    before = contents(out)
    assert [name for name in before if name.startswith("train/")]  # the others' work is kept
    assert convert_part(inputs, out, part="3/5", skip_bad_files=True, **options) == []
    assert contents(out) == contents(whole)
    assert [fault["name"] for fault in open_shards(out).attributes["bad_files"]] == ["bad.root"]
    assert not verify(out)


def test_one_that_was_cleared_away_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """While a part puts a task in place, another conversion replaces its folder."""
    out, other = tmp_path / "shards", tmp_path / "other"
    options = {**OPTIONS, "min_voxels": 9}
    convert(INPUTS, other, **options)
    end_task = OutputFolder.end_task

    def overtaken(folder: OutputFolder, *args: Any, **kwargs: Any) -> None:
        monkeypatch.setattr(OutputFolder, "end_task", end_task)
        convert(INPUTS, out, overwrite=True, **options)
        end_task(folder, *args, **kwargs)

    monkeypatch.setattr(OutputFolder, "end_task", overtaken)
    with pytest.raises(PilarnetError, match="has other options"):
        run_part(out, 1, 2)
    assert contents(out) == contents(other)


def test_shards_that_are_not_seen_are_not_taken_for_none(tmp_path: Path):
    """A worker that writes to a disk of its own, under the same name, leaves nothing here."""

    class Elsewhere(ThreadPoolExecutor):
        def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
            future = super().submit(fn, *args, **kwargs)
            if isinstance(future.result(), TaskRecord):
                shutil.rmtree(next((tmp_path / "out").glob(".conversion/begun/scratch-*/*")))
            return future

    options = {name: value for name, value in OPTIONS.items() if name != "workers"}
    with Elsewhere(1) as pool, pytest.raises(PilarnetError, match="does not see the output folder"):
        convert(INPUTS, tmp_path / "out", executor=pool, **options)
    assert not list((tmp_path / "out").glob("*/*/zarr.json"))


@pytest.mark.parametrize("whole", [False, True])
def test_two_workers_run_one_task(tmp_path: Path, wanted: dict[str, Any], whole: bool):
    """A worker that was taken for lost ends its task while, or after, another does it again."""
    out = tmp_path / "shards"
    late: list[threading.Thread] = []
    keep = TaskRunner._keep

    def twice(runner: TaskRunner, record: Any) -> Any:
        again = OutputFolder(out)
        again.begin(runner.manifest)
        copy = again.scratch / f"{record.attempt}-again"
        shutil.copytree(again.scratch / record.attempt, copy)
        if whole:
            keep(runner, record)
        else:  # at any moment of the other's work
            late.append(threading.Thread(target=keep, args=(runner, record)))
            late[-1].start()
        paths = [out / entry.name for entry in record.shards]
        before = [path.stat().st_ino for path in paths] if whole else []
        document = json.loads(json.dumps(record.to_json()))
        again.end_task(record.task.number, document, attempt=copy.name)
        if whole:  # what is in place and right stays there, for it may be read already
            assert [path.stat().st_ino for path in paths] == before
        for thread in late:
            thread.join()
        return record

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(TaskRunner, "_keep", twice)
        convert(INPUTS, out, **OPTIONS)
    assert contents(out) == wanted
