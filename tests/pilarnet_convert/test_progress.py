"""Progress of long work in a batch log, and ``log.txt``."""

from __future__ import annotations

import os
import pty
import re
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert import __version__
from pilarnet_convert.console import progress
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.console.run_log import RunLog

PATIENCE_S = 60


class Lines(list[str]):
    """Lines as they come, with a way to wait for the next."""

    def __init__(self) -> None:
        super().__init__()
        self.told = threading.Event()

    def __call__(self, line: str) -> None:
        self.append(line)
        self.told.set()

    def wait(self) -> None:
        self.told.clear()
        assert self.told.wait(PATIENCE_S)

    def wait_for_estimate(self) -> None:
        """Wait for a line with the time left, which comes only after the time of the first step."""
        while not self or not self[-1].split(", loss")[0].endswith(" left"):
            self.wait()


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("_TICK_SECONDS", "_LINE_SECONDS", "_MEASURED_SECONDS"):
        monkeypatch.setattr(progress, name, 0.01)


@pytest.mark.usefixtures("_often")
def test_a_line_is_told_while_a_step_takes_long(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    with progress_bar(total=1880, unit="step", description="train", log=lines) as bar:
        bar.update(1234)
        bar.set_postfix_str("loss 1.5")
        lines.wait_for_estimate()
    pattern = r"train: 66 %, 1,234 of 1,880 steps, \d\d:\d\d left, loss 1.5, [\d,]+ steps/s"
    assert re.fullmatch(pattern, lines[-2])
    last = r"train: 66 %, 1,234 of 1,880 steps, took \d\d:\d\d, loss 1.5, .*"
    assert re.fullmatch(last, lines[-1])
    assert capsys.readouterr().err.splitlines() == lines


def test_short_work_tells_nothing(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    for _ in progress_bar(range(3), total=3, unit="step", description="train", log=lines):
        pass
    assert (lines, capsys.readouterr()) == ([], ("", ""))


@pytest.mark.usefixtures("_often")
def test_nothing_is_shown_but_the_log_is_kept(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    with progress_bar(total=2, unit="", description="evaluate", show=False, log=lines) as bar:
        bar.update(1)
        lines.wait_for_estimate()
    assert re.fullmatch(r"evaluate: 50 %, \d\d:\d\d left", lines[-2])
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_is_off_does_nothing(capsys: pytest.CaptureFixture[str]):
    with progress_bar(total=2, unit="step", description="train", show=False) as bar:
        bar.measure_from(1)
        bar.set_postfix_str("loss 1")
        bar.update()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_often")
def test_much_work_is_told_once_with_what_shortens_it(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    bar = progress_bar(total=10**9, unit="step", description="train", log=lines, advice="buy time")
    bar.update(1)
    while not any("buy time" in line for line in lines):
        lines.wait()
    for _ in range(3):
        lines.wait()
    bar.close()
    (note,) = (line for line in lines if "buy time" in line)
    assert re.fullmatch(r"train: about [\d,.]+ hours to come; buy time", note)
    capsys.readouterr()


class Clock:
    """A clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(progress, "time", clock)
    return clock


@pytest.mark.parametrize(
    ("seconds", "rate"), [(0.5, "20 steps/s"), (4.0, "2.5 steps/s"), (100.0, "10.0 s/step")]
)
def test_rates_are_easy_to_read(clock: Clock, seconds: float, rate: str):
    with progress_bar(total=110, unit="step", description="train", log=lambda _: None) as bar:
        clock.now = 7.0
        bar.measure_from(100)  # what was done before says nothing about the rate
        clock.now += seconds
        bar.n = 110
        took = bar.format_interval(7 + seconds)
        assert bar._line() == f"train: 100 %, 110 of 110 steps, {took} so far, {rate}"


@pytest.mark.filterwarnings("error")
def test_units_have_no_plural_and_may_be_parts_of_one(clock: Clock):
    with progress_bar(total=31.4, unit="MB", description="get", log=lambda _: None) as bar:
        clock.now = 20.0
        bar.update(8.1)
        assert bar._line() == "get: 26 %, 8 of 31 MB, 00:20 so far, 0.4 MB/s"
        clock.now = 40.0
        assert bar._line() == "get: 26 %, 8 of 31 MB, 01:55 left, 0.2 MB/s"
        bar.update(31.4 - bar.n + 1e-6)  # the sum of parts; tqdm warns if it sees more than all
        assert bar.format_meter(**bar.format_dict).startswith("get: 100 % |")


def test_the_first_of_many_workers_does_not_decide_on_the_estimate(clock: Clock):
    """16 workers, 160 tasks of 30 s, that begin at the same time: 300 s in all."""
    estimates = []
    with progress_bar(total=160, unit="task", description="convert", log=lambda _: None) as bar:
        for n in range(160):
            clock.now = 30.0 * (1 + n // 16) + 0.1 * (n % 16)
            bar.update()
            if (left := bar._seconds_left()) is not None:
                estimates.append((clock.now + left) / 300)
    assert min(estimates) > 0.9
    assert max(estimates) < 2


@pytest.mark.parametrize("columns", [80, 100, 120])
def test_a_narrow_terminal_gets_whole_facts(clock: Clock, columns: int):
    bar = progress_bar(total=1880, unit="step", description="train", log=lambda _: None)
    bar.dynamic_ncols = lambda _: (columns, 24)
    bar.set_postfix_str("epoch 2 of 4, loss 2.539, 133 particles/s")
    clock.now = 100.0
    bar.update(50)
    clock.now = 200.0
    line = bar.format_meter(**bar.format_dict)
    bar.close()
    facts = line.rpartition("| ")[2].split(", ")
    known = "50 of 1,880 steps, 2:02:00 left, epoch 2 of 4, loss 2.539, 133 particles/s"
    assert len(line) <= columns
    assert facts == [*known.split(", "), "4.0 s/step"][: {80: 4, 100: 5, 120: 6}[columns]]


@pytest.mark.parametrize("begin", ["", "bar.measure_from(1879); "])
def test_a_terminal_gets_a_bar_with_whole_numbers(begin: str):
    script = (
        "from pilarnet_convert.console.progress import progress_bar\n"
        "with progress_bar(total=1880, unit='step', description='train') as bar:\n"
        f"    {begin}bar.update(1880 - bar.n)\n"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 90))
    subprocess.run([sys.executable, "-c", script], stderr=theirs, check=True)
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "0 of 1,880 steps" in text
    assert re.search(r"\r *train: 100 % \|█+\| 1,880 of 1,880 steps, took \d\d:\d\d.*\r\n$", text)
    assert not re.search(r"\dk", text)


def test_the_log_says_what_ran_where(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "argv", ["/bin/clr-train", "--out", "a b"])
    for _ in range(2):  # a run that is resumed adds to it
        RunLog(tmp_path / "log.txt", facts={"device": "cpu"}).write("one\ntwo")
    lines = (tmp_path / "log.txt").read_text().splitlines()
    stamps, texts = zip(*(line.split("  ", 1) for line in lines), strict=True)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[+-]\d\d:\d\d", s) for s in stamps)
    assert texts[: len(texts) // 2] == texts[len(texts) // 2 :]
    facts = dict(text.split(": ", 1) for text in texts[: len(texts) // 2 - 2])
    assert facts["command"] == "clr-train --out 'a b'"
    assert facts["device"] == "cpu"
    assert f"numpy {np.__version__}" in facts["versions"]
    assert facts["pilarnet-clr"].startswith(__version__)
    root = Path(__file__).parents[2]
    git: Callable[..., str] = lambda *a: subprocess.check_output(["git", *a], cwd=root, text=True)  # noqa: E731
    if (root / ".git").exists():
        assert git("rev-parse", "--short", "HEAD").strip() in facts["pilarnet-clr"]
    assert texts[len(texts) // 2 - 2 : len(texts) // 2] == ("one", "two")
