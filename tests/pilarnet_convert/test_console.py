"""Help, versions, one-line errors, tracebacks on request, and where each is printed."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from pilarnet_convert import __version__, cli
from pilarnet_convert.console.command import Command
from pilarnet_convert.errors import InputError
from tests.pilarnet_convert.outputs import REPOSITORY as ROOT
from tests.pilarnet_convert.outputs import run_convert, run_stats
from tests.sample import SAMPLE


@click.command("trial", cls=Command)
@click.argument("kind")
def trial(kind: str) -> None:
    """Fail."""
    raise {
        "pilarnet": InputError(
            "a\nproblem", file="f.root", entry=3, field="b", expected=1, found=2
        ),
        "disk": OSError(errno.ENOSPC, "No space left on device", "/there"),
        "io": PermissionError(errno.EACCES, "Permission denied", "/there"),
        "bug": ZeroDivisionError("oh\ndear"),
        "interrupt": KeyboardInterrupt(),
    }[kind]


@pytest.mark.parametrize(
    ("kind", "code", "line"),
    [
        ("pilarnet", 1, "error: f.root: entry 3: b: a problem (expected 1, found 2)"),
        ("disk", 1, "error: /there: no space left on the device; free some and run again"),
        ("io", 1, "error: /there: Permission denied"),
        (
            "bug",
            70,
            "error: internal error: ZeroDivisionError: oh dear; run again with --debug for the "
            "traceback and report it",
        ),
        ("interrupt", 130, "stopped by SIGINT; what was finished is kept"),
    ],
)
def test_errors_are_one_line(kind: str, code: int, line: str):
    result = CliRunner().invoke(trial, [kind])
    assert (result.exit_code, result.stdout, result.stderr) == (code, "", line + "\n")
    result = CliRunner().invoke(trial, [kind, "--debug"])
    assert result.exit_code == code
    assert result.stderr.startswith("Traceback (most recent call last)")
    assert result.stderr.splitlines()[-1] == line


@click.command("endless", cls=Command)
@click.argument("numbers", nargs=-1, type=int)
def endless(numbers: tuple[int, ...]) -> None:
    """Receive signals, the last of them while the first is handled, and run forever."""
    try:
        os.kill(os.getpid(), numbers[0])
        time.sleep(60)
    finally:
        for number in numbers[1:]:
            os.kill(os.getpid(), number)


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1], ids=lambda n: n.name
)
def test_signals_that_end_a_command(number: signal.Signals):
    """A batch system and a launcher both send a signal: the second changes nothing."""
    before = signal.getsignal(number)
    for _ in range(2):
        result = CliRunner().invoke(endless, [str(int(n)) for n in (number, signal.SIGTERM)])
        assert (result.exit_code, result.stdout) == (128 + number, "")
        assert result.stderr == f"stopped by {number.name}; what was finished is kept\n"
    assert signal.getsignal(number) == before


def test_a_signal_that_comes_while_a_stopped_program_ends():
    program = (
        "import atexit, os, signal, sys\n"
        "from tests.pilarnet_convert.test_console import endless\n"
        "atexit.register(os.kill, os.getpid(), signal.SIGTERM)\n"
        "endless([str(int(signal.SIGHUP))])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout) == (129, "")
    assert done.stderr == "stopped by SIGHUP; what was finished is kept\n"


@pytest.mark.parametrize("run", [run_convert, run_stats])
def test_help_and_version(run):
    for flag in ("--help", "-h"):
        result = run(flag)
        assert result.exit_code == 0
        assert "Examples:" in result.stdout
        assert "--debug" in result.stdout
    result = run("--version")
    assert (result.exit_code, result.stdout.split()[1]) == (0, __version__)
    assert f"numpy {np.__version__}\n" in result.stdout


def test_help_names_every_option_with_its_default():
    text = " ".join(run_convert("--help").stdout.split())
    for option, default in {
        "--min-voxels": "10",
        "--splits": "train=0.8,val=0.1,test=0.1",
        "--events-per-shard": "2,500 events",
        "--workers": "all cores",
        "--reader": "auto",
        "--energy-unit": "auto",
        "--products": "mcst",
    }.items():
        assert option in text
        assert default in text.partition(option)[2]
    for option in (
        "--primaries-only",
        "--resume",
        "--overwrite",
        "--allow-duplicates",
        "--skip-bad-files",
    ):
        assert option in text


def test_a_file_that_vanishes_is_told(tmp_path: Path):
    result = run_convert("--input", SAMPLE, "--out", tmp_path / "a", "--debug", "--min-voxels", 0)
    assert result.exit_code == 2
    assert "Traceback" in result.stderr
    assert result.stderr.splitlines()[-1] == (
        "error: --min-voxels: unusable value (expected at least 1, found 0)"
    )


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--min-voxels", "0"], 2),
        (["--events-per-shard", "0"], 2),
        (["--workers", "0"], 2),
        (["--max-events", "0"], 2),
        (["--splits", "train=2"], 2),
        (["--resume", "--overwrite"], 2),
        (["--reader", "root"], 2),
        (["--min-voxels", "many"], 2),
        (["--unknown-option"], 2),
    ],
)
def test_options_that_do_not_fit(tmp_path: Path, arguments: list[str], code: int):
    result = run_convert("--input", SAMPLE, "--out", tmp_path / "out", *arguments)
    assert (result.exit_code, result.stdout) == (code, "")
    assert arguments[0] in result.stderr
    assert len(result.stderr.splitlines()) == 1 or code == 2
    assert not (tmp_path / "out").exists()


def test_what_conversion_prints(tmp_path: Path):
    result = run_convert("--input", SAMPLE, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == "20 events of 1 source, 3 shards"
    assert [line.split()[0] for line in lines[2:9]] == (
        ["class", "electron", "proton", "gamma", "muon", "pion", "all"]
    )
    assert lines[-3].split()[:2] == ["seen", "254"]
    particles = lines[8].split()[4]
    assert lines[-1] == f"wrote {tmp_path / 'out'}: {particles} particles, 3 shards"


def test_ctrl_c_says_how_to_go_on(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    def interrupted(*_args: object, **_kwargs: object) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(cli, "convert", interrupted)
    result = run_convert("--input", SAMPLE, "--out", tmp_path / "out")
    assert (result.exit_code, result.stdout) == (130, "")
    assert result.stderr == (
        "stopped by SIGINT; continue with the same command and --resume "
        f"({tmp_path / 'out'} keeps what is finished)\n"
    )


def test_errors_survive_the_way_between_processes():
    import pickle

    error = InputError("p", file="f", entry=1, field="x", expected="a", found="b", advice="c")
    copy = pickle.loads(pickle.dumps(error))
    assert (type(copy), str(copy), copy.details) == (InputError, str(error), error.details)
    assert str(error) == "f: entry 1: x: p (expected a, found b); c"
