"""What a batch log tells of long work, and ``log.txt``."""

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
from pilarnet_convert.console import RunLog, progress, progress_bar

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


@pytest.fixture
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(progress, "_TICK_SECONDS", 0.01)


@pytest.mark.usefixtures("_often")
def test_a_line_is_told_while_a_step_takes_long(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    with progress_bar(total=1880, unit="step", description="train", log=lines) as bar:
        bar.update(1234)
        bar.set_postfix_str("loss 1.5")
        lines.wait()
    pattern = r"train: 66 %, 1,234 of 1,880 steps, [\d,]+ steps/s, loss 1.5, \d\d:\d\d left"
    assert re.fullmatch(pattern, lines[-2])
    assert re.fullmatch(r"train: 1,234 of 1,880 .*; ended after 00:0\d", lines[-1])
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
        lines.wait()
    assert lines[0].startswith("evaluate: 50 %, ")
    assert capsys.readouterr() == ("", "")


def test_a_bar_that_is_off_does_nothing(capsys: pytest.CaptureFixture[str]):
    with progress_bar(total=2, unit="step", description="train", show=False) as bar:
        bar.begin_at(1)
        bar.set_postfix_str("loss 1")
        bar.update()
    assert capsys.readouterr() == ("", "")


@pytest.mark.usefixtures("_often")
def test_much_work_is_told_once_with_what_shortens_it(capsys: pytest.CaptureFixture[str]):
    lines = Lines()
    bar = progress_bar(total=10**9, unit="step", description="train", log=lines, advice="buy time")
    bar.update(1)
    for _ in range(3):
        lines.wait()
    bar.close()
    (note,) = (line for line in lines if "buy time" in line)
    assert re.fullmatch(r"train: about [\d,.]+ hours to come; buy time", note)
    capsys.readouterr()


def test_much_work_is_told_before_it_begins(capsys: pytest.CaptureFixture[str]):
    bar = progress_bar(total=9, unit="step", description="train", advice="buy time")
    bar.foresee(3500)
    for _ in range(2):
        bar.foresee(9000)
    bar.close()
    line = "train: about 2.5 hours to come; buy time\n"
    assert capsys.readouterr().err == line


@pytest.mark.parametrize(
    ("seconds", "rate"), [(0.5, "20 steps/s"), (4.0, "2.5 steps/s"), (100.0, "10.0 s/step")]
)
def test_rates_are_easy_to_read(monkeypatch: pytest.MonkeyPatch, seconds: float, rate: str):
    clock = 0.0
    bar = progress_bar(total=110, unit="step", description="train", log=lambda _: None)
    monkeypatch.setattr(bar, "_time", lambda: clock)
    bar.begin_at(100)  # what was done before says nothing about the rate
    bar.n, clock = 110, seconds
    assert bar._line() == f"train: 100 %, 110 of 110 steps, {rate}"
    bar.n = 105
    assert bar._line().endswith(f"{bar.format_interval(seconds)} left")
    bar.close()


def test_a_terminal_gets_a_bar_with_whole_numbers():
    script = (
        "from pilarnet_convert.console import progress_bar\n"
        "with progress_bar(total=1880, unit='step', description='train') as bar:\n"
        "    bar.update(1880)\n"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 90))
    subprocess.run([sys.executable, "-c", script], stderr=theirs, check=True)
    os.close(theirs)
    text = os.read(ours, 1 << 16).decode()
    os.close(ours)
    assert "0 of 1,880 steps" in text
    assert "1,880 of 1,880 steps" in text.split("\r")[-2] + text.split("\r")[-3]
    assert "k" not in text


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
