"""Which files make up which source, and how the work is cut."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert import plan
from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.plan import plan_tasks
from pilarnet_convert.readers.sources import find_sources
from pilarnet_convert.shards.format import SPLITS
from tests.pilarnet_convert.inputs import SPLIT
from tests.pilarnet_convert.outputs import contents, run_convert
from tests.sample import SAMPLE

IMAGE = "dlprod_512px_00.root"
CLUSTER = "dlprod_cluster_512px_00.root"
PARTICLE = "dlprod_particle_512px_00.root"
ARCHIVE = (IMAGE, f"cluster/{CLUSTER}", f"particle/{PARTICLE}")


def touch(folder: Path, *names: str) -> list[Path]:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(b"root")
    return [folder / name for name in names]


def found(*inputs: str | Path) -> list[tuple[str, list[str]]]:
    return [(s.name, [file.name for file in s.files]) for s in find_sources(inputs)]


@pytest.mark.parametrize("named", ARCHIVE)
@pytest.mark.parametrize("names", [ARCHIVE, (IMAGE, CLUSTER, PARTICLE)], ids=["archive", "flat"])
def test_three_files_from_any_of_them(tmp_path: Path, names: tuple[str, ...], named: str):
    touch(tmp_path, *names)
    (path,) = [tmp_path / name for name in names if Path(name).name == Path(named).name]
    ((name, files),) = found(path)
    assert name == IMAGE
    assert sorted(files) == sorted([IMAGE, CLUSTER, PARTICLE])
    assert files[0] == path.name


@pytest.mark.parametrize(
    "inputs",
    [["."], ["*.root"], ["**/*.root"], ["cluster", "particle"], [ARCHIVE[1], ARCHIVE[2]], ["*"]],
)
def test_folders_and_globs_make_one_source_of_three_files(
    tmp_path: Path, inputs: list[str], monkeypatch: pytest.MonkeyPatch
):
    touch(tmp_path, *ARCHIVE)
    for prefix in ("", f"{tmp_path}/"):
        monkeypatch.chdir(tmp_path)
        ((name, files),) = found(*[prefix + text for text in inputs])
        assert name == IMAGE
        assert sorted(files) == sorted([IMAGE, CLUSTER, PARTICLE])


def test_named_twice_counts_twice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (path,) = touch(tmp_path, "a.root")
    monkeypatch.chdir(tmp_path)
    assert found(path, path) == [("a.root", ["a.root"])] * 2
    assert found("a.root", path, "./a.root") == [("a.root", ["a.root"])] * 3
    assert found(tmp_path, path) == [("a.root", ["a.root"])] * 2
    touch(tmp_path, *ARCHIVE)
    assert len(found(IMAGE, IMAGE, f"cluster/{CLUSTER}")) == 2


def test_a_spelling_is_kept_for_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    touch(tmp_path, "a.root")
    monkeypatch.chdir(tmp_path)
    (source,) = find_sources(["a.root"])
    assert source.files == (Path("a.root"),)


def test_same_names_in_two_folders_are_two_sources(tmp_path: Path):
    touch(tmp_path, "one/a.root", "two/a.root", "two/deep/b.root")
    assert found(tmp_path) == [(n, [n]) for n in ("a.root", "a.root", "b.root")]


def test_odd_names(tmp_path: Path):
    touch(tmp_path, "cluster.root", "mc_particle_7.root", "a [1].root", "cluster_x.root")
    assert found(tmp_path / "cluster.root") == [("cluster.root", ["cluster.root"])]
    assert found(tmp_path / "mc_particle_7.root") == [("mc_7.root", ["mc_particle_7.root"])]
    assert found(tmp_path / "a [1].root") == [("a [1].root", ["a [1].root"])]
    assert found(tmp_path / "cluster_x.root") == [("x.root", ["cluster_x.root"])]


@pytest.mark.parametrize("text", ["nothing.root", "*.nothing", "empty", "dangling.root"])
def test_nothing_there(tmp_path: Path, text: str):
    (tmp_path / "empty").mkdir()
    (tmp_path / "dangling.root").symlink_to(tmp_path / "gone.root")
    result = run_convert("--input", tmp_path / text, "--out", tmp_path / "shards", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    place = re.escape(str(tmp_path / text))
    assert re.match(rf"error: {place}: (no such|the folder|a link that leads nowhere)", line)
    assert not (tmp_path / "shards").exists()


def test_one_source_whatever_the_way_to_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """The same shards from each of the three files, a folder with a space, links and a glob."""
    home = tmp_path / "a folder" / "lar"
    shutil.copytree(SPLIT.parent, home)
    os.symlink(home, tmp_path / "linked")
    flat = tmp_path / "flat"
    flat.mkdir()
    for name in ARCHIVE:
        os.symlink(home / name, flat / Path(name).name)
    monkeypatch.chdir(tmp_path)
    ways = [
        *(home / name for name in ARCHIVE),
        home,
        "linked",
        f"linked/cluster/{CLUSTER}",
        "a folder/*/*.root",
        flat,
        f"flat/{PARTICLE}",
    ]
    results = []
    for number, way in enumerate(ways):
        out = tmp_path / "out" / str(number)
        result = run_convert("--input", way, "--out", out, "--workers", 1, "--max-events", 4)
        assert (result.exit_code, result.stderr) == (0, "")
        results.append(contents(out))
    assert results[0]
    assert all(result == results[0] for result in results)


def test_inputs_on_the_command_line(tmp_path: Path):
    """``--input`` may take many paths, be repeated, and be written with an equals sign."""
    arguments = {
        "many": ["--input", SAMPLE, SAMPLE],
        "repeated": ["--input", SAMPLE, "--input", SAMPLE],
        "equals": [f"--input={SAMPLE}", SAMPLE],
    }
    for name, inputs in arguments.items():
        result = run_convert(
            *(*inputs, "--workers", 1, "--max-events", 21, "--out", tmp_path / name),
            "--allow-duplicates",
        )
        assert result.stdout.startswith("21 events of 2 sources")
    assert contents(tmp_path / "many") == contents(tmp_path / "equals")
    assert contents(tmp_path / "many") == contents(tmp_path / "repeated")


@pytest.mark.parametrize(
    ("text", "fractions"),
    [
        ("train=0.8,val=0.1,test=0.1", (0.8, 0.1, 0.1)),
        ("test=1", (0, 0, 1)),
        (" val = 0.25 , train=0.75", (0.75, 0.25, 0)),
        ("train=1e-1,val=0,test=.9", (0.1, 0, 0.9)),
    ],
)
def test_splits(text: str, fractions: tuple[float, ...]):
    found = ConvertConfig(splits=text).selection.splits
    assert found == dict(zip(SPLITS, fractions, strict=True))


@pytest.mark.parametrize(
    "text",
    [
        *("", "train", "train=0.8", "train=0.5,val=0.6", "train=1.5,val=-0.5", "train=nan,val=1"),
        *("train=1,train=0", "train=0.5,dev=0.5", "train=a", "train=0.5;val=0.5", "train=inf"),
    ],
)
def test_not_splits(text: str):
    with pytest.raises(PilarnetError, match="--splits: not fractions") as error:
        ConvertConfig(splits=text)
    assert f"found {text}".strip() in str(error.value)


class Table(NamedTuple):
    """A source whose voxels lie in baskets of so many entries and bytes."""

    baskets: list[tuple[int, int]]

    @property
    def borders(self) -> tuple[Any, Any]:
        entries, num_bytes = np.array([(0, 0), *self.baskets]).cumsum(axis=0).T
        return entries, num_bytes

    @property
    def num_entries(self) -> int:
        return sum(entries for entries, _ in self.baskets)


baskets = st.lists(st.tuples(st.integers(1, 9), st.integers(0, 40)), min_size=1, max_size=8)


@given(
    st.lists(baskets.map(Table), min_size=1, max_size=3),
    st.none() | st.integers(1, 60),
    st.integers(1, 50),
)
def test_tasks_cover_the_events_once_and_tear_no_basket(
    sources: list[Table], max_events: int | None, task_bytes: int
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "TASK_BYTES", task_bytes)
        patch.setattr(plan, "_LEAST_TASK_BYTES", 1)
        patch.setattr(plan, "_LEAST_TASKS", 1)
        tasks = plan_tasks(sources, max_events=max_events)  # type: ignore[arg-type]
    check_cover(sources, tasks, max_events)
    ranges = [r for task in tasks for r in task.ranges]
    for events in ranges:
        borders = sources[events.source].borders[0].tolist()
        assert events.start in borders
        assert events.stop in borders or events == ranges[-1]
    basket = max(size for source in sources for _, size in source.baskets)
    for task in tasks:
        assert num_bytes(task, sources) <= task_bytes + 2 * basket


def num_bytes(task: plan.Task, sources: list[Table]) -> float:
    """Count the bytes of the baskets of a task, and of those that it has parts of in proportion."""
    borders = [sources[part.source].borders for part in task.ranges]
    return sum(
        float(np.interp(part.stop, *of_source) - np.interp(part.start, *of_source))
        for part, of_source in zip(task.ranges, borders, strict=True)
    )


def check_cover(sources: list[Table], tasks: list[plan.Task], max_events: int | None) -> None:
    events = [
        (r.source, entry) for task in tasks for r in task.ranges for entry in range(r.start, r.stop)
    ]
    everything = [(n, entry) for n, s in enumerate(sources) for entry in range(s.num_entries)]
    assert events == everything[:max_events]
    assert [task.number for task in tasks] == list(range(len(tasks)))


@given(
    st.lists(baskets.map(Table), min_size=1, max_size=3),
    st.none() | st.integers(1, 60),
    st.integers(1, 20),
)
def test_tasks_of_a_number_of_events(
    sources: list[Table], max_events: int | None, events_per_task: int
):
    tasks = plan_tasks(sources, events_per_task=events_per_task, max_events=max_events)  # type: ignore[arg-type]
    check_cover(sources, tasks, max_events)
    assert all(task.num_events <= 1.5 * events_per_task for task in tasks)


def test_tasks_are_of_equal_size():
    sources = [Table([(20, 320_000)] * 10) for _ in range(100)]
    sizes = [num_bytes(task, sources) for task in plan_tasks(sources)]  # type: ignore[arg-type]
    assert len(sizes) == 8
    assert max(sizes) - min(sizes) <= 320_000
