"""The same bytes whatever the number of workers, the order of completion, and interruptions."""

from __future__ import annotations

import random
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pilarnet_convert import convert, executors, manifest, verify
from pilarnet_convert.errors import PilarnetError, ShardError
from pilarnet_convert.executors.local import InProcess
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.killing import Death, dying
from tests.pilarnet_convert.outputs import contents
from tests.sample import SAMPLE

OPTIONS: dict[str, Any] = {"events_per_shard": 6, "min_voxels": 5, "max_events": 27}


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    """Return the bytes of an uninterrupted conversion in one process."""
    out = tmp_path_factory.mktemp("wanted") / "shards"
    convert([SAMPLE, QUIRKS], out, workers=1, **OPTIONS)
    assert len(list((out / "train").glob("*/"))) > 3
    return contents(out)


@pytest.mark.parametrize("workers", [2, 3])
def test_any_number_of_workers(tmp_path: Path, wanted: dict[str, Any], workers: int):
    convert([SAMPLE, QUIRKS], tmp_path / "shards", workers=workers, **OPTIONS)
    assert contents(tmp_path / "shards") == wanted


def test_the_executor_of_the_user(tmp_path: Path, wanted: dict[str, Any]):
    with ThreadPoolExecutor(2) as pool:
        convert([SAMPLE, QUIRKS], tmp_path / "shards", executor=pool, **OPTIONS)
        assert pool.submit(int).result() == 0  # it is still open
    assert contents(tmp_path / "shards") == wanted


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("skip_bad_files", [False, True])
def test_any_order_of_completion(
    tmp_path: Path,
    wanted: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    seed: int,
    skip_bad_files: bool,
):
    """Work that is given to many workers is finished in a random order."""
    choose = random.Random(seed).choice

    def one_done(running: Iterable[Any], **_: Any) -> Any:
        return SimpleNamespace(done={choose(list(running))})

    monkeypatch.setattr(executors, "wait", one_done)
    out = tmp_path / "shards"
    pool = InProcess()
    convert([SAMPLE, QUIRKS], out, executor=pool, skip_bad_files=skip_bad_files, **OPTIONS)
    found = contents(out)
    assert found == wanted


def die_and_resume(out: Path, after: int, **how: Any) -> int:
    """Kill a conversion before a step on disk, then go on; give the steps of the second run."""
    with pytest.raises(Death), dying(out, after=after):
        convert([SAMPLE, QUIRKS], out, workers=1, **OPTIONS, **how)
    if not (out / "zarr.json").exists():
        with pytest.raises(ShardError):
            verify(out)
    if (out / ".conversion" / "begun").exists() or (out / "zarr.json").exists():
        with pytest.raises(PilarnetError, match="already holds"):
            convert([SAMPLE, QUIRKS], out, workers=1, **OPTIONS)
    with dying(out) as steps:
        convert([SAMPLE, QUIRKS], out, workers=1, resume=True, **OPTIONS)
    return steps.done


@pytest.fixture(scope="module")
def num_steps(tmp_path_factory: pytest.TempPathFactory) -> int:
    out = tmp_path_factory.mktemp("steps") / "shards"
    with dying(out) as steps:
        convert([SAMPLE, QUIRKS], out, workers=1, **OPTIONS)
    assert steps.done > 300
    return steps.done


#: Parts of the whole, and single steps at both ends, where the folder begins and is finished.
MOMENTS = [0, 3, 6, 0.02, 0.17, 0.43, 0.75, -20, -5, -2, -1]


@pytest.mark.parametrize("moment", MOMENTS)
def test_killed_at_any_step(tmp_path: Path, wanted: dict[str, Any], num_steps: int, moment: float):
    after = int(moment * num_steps) if isinstance(moment, float) else moment % num_steps
    out = tmp_path / "shards"
    steps = die_and_resume(out, after)
    assert contents(out) == wanted
    if after > 10:  # what was finished is not done again
        assert steps < num_steps - 0.8 * after + num_steps / 5  # but for the task at hand


def test_killed_again_and_again(tmp_path: Path, wanted: dict[str, Any], num_steps: int):
    out = tmp_path / "shards"
    for _ in range(20):
        try:
            with dying(out, after=num_steps // 3):
                convert([SAMPLE, QUIRKS], out, workers=1, resume=True, **OPTIONS)
        except Death:
            continue
        break
    assert contents(out) == wanted


@pytest.mark.parametrize("after", [0, 3, 9, 200])
def test_killed_while_it_replaces_other_shards(tmp_path: Path, wanted: dict[str, Any], after: int):
    out = tmp_path / "shards"
    convert(SAMPLE, out, workers=1, events_per_shard=6, min_voxels=12, splits="train=1")
    with pytest.raises(Death), dying(out, after=after):
        convert([SAMPLE, QUIRKS], out, workers=1, overwrite=True, **OPTIONS)
    resumable = not (out / "zarr.json").exists()
    convert([SAMPLE, QUIRKS], out, workers=1, resume=resumable, overwrite=not resumable, **OPTIONS)
    assert contents(out) == wanted


def test_resume_of_what_is_complete_changes_nothing(tmp_path: Path):
    out = tmp_path / "shards"
    convert(SAMPLE, out, workers=1, **OPTIONS)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    convert(SAMPLE, out, workers=1, resume=True, **OPTIONS)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


@pytest.mark.parametrize(
    ("inputs", "options", "says"),
    [
        ([SAMPLE], {**OPTIONS, "min_voxels": 6}, "other options (expected min_voxels 5"),
        ([SAMPLE], {**OPTIONS, "events_per_shard": 5}, "expected events_per_shard 6"),
        ([QUIRKS], OPTIONS, "other sources"),
        ([SAMPLE, SAMPLE], {**OPTIONS, "allow_duplicates": True}, "other sources"),
    ],
)
@pytest.mark.parametrize("complete", [False, True])
def test_resume_of_something_else_is_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    inputs: list[Path],
    options: dict[str, Any],
    says: str,
    complete: bool,
):
    out = tmp_path / "shards"
    if complete:
        convert(SAMPLE, out, workers=1, **OPTIONS)
    else:
        with pytest.raises(Death), dying(out, after=200):
            convert(SAMPLE, out, workers=1, **OPTIONS)
    before = contents(out)
    with pytest.raises(PilarnetError) as error:
        convert(inputs, out, workers=1, resume=True, **options)
    assert says in str(error.value)
    assert "begin anew with --overwrite" in str(error.value)
    assert contents(out) == before
    if complete:
        monkeypatch.setattr(manifest, "__version__", "0.0")
        with pytest.raises(PilarnetError, match=r"was begun by another version .*that version, or"):
            convert(inputs, out, workers=1, resume=True, **options)
