"""The scripts that measure a GPU and the engines run on a CPU too, at a small size."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from pilarnet_convert.conversion import convert
from tests.benchmarks import bench_engines
from tests.benchmarks.bench_gpu import PARTS, as_markdown, main, run_limited
from tests.sample import SAMPLE


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bench") / "shards"
    convert(SAMPLE, path)
    return path


@pytest.mark.parametrize("part", [name for name in PARTS if name != "training"])  # as with twice
def test_each_part_gives_figures(part: str, shards: Path, tmp_path: Path) -> None:
    options = ["--device", "cpu", "--shards", str(shards), "--out", str(tmp_path)]
    main(["--here", "--part", part, *options])
    (file,) = tmp_path.glob("*.json")
    rows = json.loads(file.read_text())
    figures = {name: value for row in rows for name, value in row.items()}
    rates = [value for name, value in figures.items() if name.endswith("_per_second")]
    assert all(rate > 0 for rate in rates)
    if part == "profile":
        parts = figures["parts"]
        assert parts.keys() >= {"views", "kernel maps", "depth-wise", "pointwise", "norms", "loss"}
        # The host's time is shared out once: no part counts what another does.
        assert parts["all"]["host_ms"] <= figures["step_ms_while_profiled"]
    else:
        assert rates


def test_the_engines_are_timed_in_turn(shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--model", "zepto", "--particles", "8", "--repeat", "1", "--threads", "1"]
    bench_engines.main([str(shards), *options])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("two views of 8 particles")
    assert any(line.startswith("torch ") and "1.00 times torch's" in line for line in lines)


def test_what_hangs_or_fails_is_told_and_ends() -> None:
    def run(code: str, *, seconds: float = 60.0) -> str | None:
        return run_limited([sys.executable, "-c", code], seconds=seconds)

    assert run("pass") is None
    assert run("import time; time.sleep(60)", seconds=0.6) == "took longer than 1 s"
    assert run("raise SystemExit('no memory')") == "exit code 1: no memory"


def test_the_parts_fit_into_eight_minutes() -> None:
    assert sum(seconds for _, seconds in PARTS.values()) < 480


def test_the_table_says_what_is_missing() -> None:
    text = as_markdown({"data": {"error": "took longer than 9 s", "rows": [{"a_rate": 12345.6}]}})
    assert "took longer than 9 s" in text
    assert "| a rate | 12,346 |" in text
