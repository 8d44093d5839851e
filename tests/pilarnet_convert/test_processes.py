"""Conversions in real processes, ended by signals, full disks and lost workers."""

from __future__ import annotations

import os
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from pilarnet_convert import convert, plan
from tests.pilarnet_convert.clusters import PATIENCE, wait_until
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.outputs import (
    contents,
    convert_process,
    environment,
    in_small_tasks,
    read_particles,
    run_convert,
)
from tests.sample import SAMPLE

TASK_BYTES = 80_000  # five tasks; two workers have four of them at a time
ARGUMENTS = ("--input", SAMPLE, QUIRKS, "--min-voxels", 5)


@pytest.fixture(autouse=True)
def _small_tasks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(plan, "TASK_BYTES", TASK_BYTES)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    out = tmp_path_factory.mktemp("wanted") / "shards"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "TASK_BYTES", TASK_BYTES)
        convert([SAMPLE, QUIRKS], out, workers=1, min_voxels=5)
    return contents(out)


def goes_on(out: Path) -> Path:
    return out.with_name("goes on")


def shards_in_place(out: Path) -> list[Path]:
    """List the shards that are there: those of the task that ended first, whichever it is."""
    return list(out.glob("*/*/zarr.json"))


@contextmanager
def running(out: Path, *, workers: int) -> Iterator[subprocess.Popen[str]]:
    """Start a conversion that stays in the middle of its work until the file `goes_on` exists."""
    command = in_small_tasks(num_bytes=TASK_BYTES, until=goes_on(out))
    process = convert_process(command, *ARGUMENTS, "--out", out, "--workers", workers)
    try:
        wait_until(lambda: shards_in_place(out) or process.poll() is not None)
        assert process.poll() is None, process.communicate()
        yield process
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.communicate()


def processes_of(session: int) -> dict[int, tuple[int, str]]:
    """Return the parent and the command line of every process of a session."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            command = (folder / "cmdline").read_text()
        except OSError:
            continue
        if int(fields[3]) == session and fields[0] != "Z":
            found[int(folder.name)] = int(fields[1]), command
    return found


def resume(out: Path) -> dict[str, bytes | None]:
    """Go on in this process, and give what there is in the end."""
    result = run_convert(*ARGUMENTS, "--out", out, "--workers", 1, "--resume")
    assert (result.exit_code, result.stderr) == (0, "")
    return contents(out)


def test_killed_outright(tmp_path: Path, wanted: dict[str, Any]):
    out = tmp_path / "shards"
    with running(out, workers=2) as process:
        process.kill()  # the parent alone: its workers end by themselves
        assert process.wait() == -signal.SIGKILL
        wait_until(lambda: not processes_of(process.pid))
    assert not (out / "zarr.json").exists()
    result = run_convert(*ARGUMENTS, "--out", out, "--workers", 1)
    assert result.exit_code == 1
    assert "already holds an unfinished conversion; continue with --resume" in result.stderr
    assert resume(out) == wanted


def test_a_worker_vanishes(tmp_path: Path, wanted: dict[str, Any]):
    out = tmp_path / "shards"
    with running(out, workers=2) as process:
        family = processes_of(process.pid)
        (server,) = [
            pid
            for pid, (parent, command) in family.items()
            if parent == process.pid and "forkserver" in command
        ]
        worker = next(pid for pid, (parent, _) in family.items() if parent == server)
        os.kill(worker, signal.SIGKILL)
        goes_on(out).touch()
        stdout, stderr = process.communicate(timeout=PATIENCE)
        assert (process.returncode, stdout) == (1, "")
        (line,) = stderr.splitlines()
        assert line.startswith("error: a worker process vanished (found killed from outside")
        assert "continue with --resume" in line
    assert shards_in_place(out)
    assert resume(out) == wanted


@pytest.mark.parametrize(
    ("workers", "number", "whole_group"),
    [
        pytest.param(2, signal.SIGINT, True, id="Ctrl-C"),
        pytest.param(1, signal.SIGTERM, False, id="SIGTERM"),
        *(
            pytest.param(2, number, True, id=f"{number.name} to all", marks=pytest.mark.slow)
            for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1)
        ),
    ],
)
def test_ended_by_a_signal(
    tmp_path: Path, wanted: dict[str, Any], workers: int, number: int, whole_group: bool
):
    out = tmp_path / "shards"
    with running(out, workers=workers) as process:
        for how in ("--resume", "--overwrite"):
            result = run_convert(*ARGUMENTS, "--out", out, "--workers", 1, how)
            assert result.exit_code == 1
            assert result.stderr == (
                f"error: {out}: another conversion is writing here; wait for it, or choose "
                "another --out\n"
            )
        (os.killpg if whole_group else os.kill)(process.pid, number)
        stdout, stderr = process.communicate(timeout=PATIENCE)
        assert (process.returncode, stdout) == (128 + number, "")
        (line,) = stderr.splitlines()
        assert line.startswith(
            f"stopped by {signal.Signals(number).name}; continue with the same command and --resume"
        )
        wait_until(lambda: not processes_of(process.pid))
    assert resume(out) == wanted


def test_interrupted_while_workers_start(tmp_path: Path):
    """Ctrl-C before anything is done: a line at most, and no traceback of any process."""
    program = (
        "import os, signal, threading\n"
        "from pilarnet_convert.executors import local as work\n"
        "from pilarnet_convert.cli import convert_command\n"
        "start = work._start_server\n"
        "def interrupted():\n"
        "    start()\n"
        "    threading.Timer(0.1, os.killpg, (os.getpid(), signal.SIGINT)).start()\n"
        "work._start_server = interrupted\n"
        "convert_command()\n"
    )
    out = tmp_path / "shards"
    process = convert_process(
        [sys.executable, "-c", program], *ARGUMENTS, "--out", out, "--workers", 2
    )
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (130, "")
    assert len(stderr.splitlines()) == 1
    assert stderr.startswith("stopped by SIGINT; ")


@pytest.mark.skipif(
    sys.version_info >= (3, 12), reason="the pool does not break while a worker starts"
)
def test_a_worker_is_killed_while_the_next_one_starts(tmp_path: Path):
    """The pool breaks and ends the workers that it knows of; then another is there."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    program = (
        "import os, sys, time\n"
        "from concurrent.futures import BrokenExecutor\n"
        "from pathlib import Path\n"
        "from pilarnet_convert.executors import local\n"
        "start, started = local.ForkServerProcess.start, []\n"
        "def start_and_wait(process):\n"
        "    if started:\n"
        "        os.open(sys.argv[1], os.O_WRONLY)  # until the first worker reads\n"
        "    start(process)\n"
        "    started.append(process)\n"
        "    if len(started) == 2:\n"
        "        started[0].kill()\n"
        "        while not killed.done():\n"
        "            time.sleep(0.01)\n"
        "        time.sleep(0.3)\n"
        "local.ForkServerProcess.start = start_and_wait\n"
        "try:\n"
        "    with local.local_executor(2) as pool:\n"
        "        killed = pool.submit(Path(sys.argv[1]).read_bytes)\n"
        "        pool.submit(time.sleep, 60).result()\n"
        "except BrokenExecutor:\n"
        "    print(len(started), 'started, broken')\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", program, str(fifo)],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=PATIENCE,  # without an end to the second it waits for ever
    )
    assert (result.stdout, result.stderr) == ("2 started, broken\n", "")


def test_no_room_for_a_file(tmp_path: Path, wanted: dict[str, Any]):
    """A limit on the size of files stands for a full disk: some shards fit, one does not."""
    out = tmp_path / "shards"
    sizes = sorted(len(data) for name, data in wanted.items() if data and "energy/c" in name)
    limit = sizes[len(sizes) * 9 // 10]
    process = convert_process(
        in_small_tasks(num_bytes=TASK_BYTES),
        *(*ARGUMENTS, "--out", out, "--workers", 1),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (1, "")
    (line,) = stderr.splitlines()
    assert "File too large" in line
    finished = {
        name: data
        for name, data in contents(out).items()
        if not name.startswith(".conversion") and "/" in name and data
    }
    assert finished.items() <= wanted.items()


def test_a_full_disk(small_disk: Path, wanted: dict[str, Any]):
    out = small_disk / "shards"
    for workers in (1, 2):
        how = ("--out", out, "--workers", workers, "--resume")
        result = run_convert(*ARGUMENTS, *how)
        assert result.exit_code == 1
        (line,) = result.stderr.splitlines()
        assert "no space left on the device; free some and run again" in line
    finished = {
        name: data
        for name, data in contents(out).items()
        if not name.startswith(".conversion") and data
    }
    assert any(name.endswith("energy/c.0") for name in finished)
    assert finished.items() <= wanted.items()
    subprocess.run(["mount", "-o", "remount,size=50m", str(small_disk)], check=True)
    assert resume(out) == wanted


@pytest.mark.parametrize("from_file", [True, False])
def test_a_script_needs_no_guard(
    from_file: bool, tmp_path: Path, wanted: dict[str, bytes | None]
) -> None:
    script = (
        "import sys\n"
        "from pilarnet_convert import convert, plan\n"
        f"plan.TASK_BYTES = {TASK_BYTES}\n"
        "convert(sys.argv[2:], sys.argv[1], workers=2, min_voxels=5)\n"
        "print('once')\n"
    )
    (tmp_path / "script.py").write_text(script)
    program = tmp_path / "script.py" if from_file else "-"
    result = subprocess.run(
        list(map(str, (sys.executable, program, tmp_path / "shards", SAMPLE, QUIRKS))),
        input=None if from_file else script,
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert (result.returncode, result.stdout, result.stderr) == (0, "once\n", "")
    assert contents(tmp_path / "shards") == wanted


@pytest.mark.slow
def test_memory_does_not_grow_with_the_input(tmp_path: Path):
    """Ten times the events, the same peak, under 1.5 GB for parent and worker each."""
    peaks = []
    for times in (20, 200):
        program = (
            "import re, resource, sys\n"
            "from pathlib import Path\n"
            "from pilarnet_convert import convert\n"
            "convert(sys.argv[3:], sys.argv[1], workers=int(sys.argv[2]), allow_duplicates=True)\n"
            # Not RUSAGE_SELF, which may begin with the peak of the process that runs the tests.
            "print(re.search(r'VmHWM:\\s+(\\d+)', Path('/proc/self/status').read_text())[1])\n"
            "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)\n"
        )
        result = subprocess.run(
            [sys.executable, "-c", program, str(tmp_path / str(times)), "2"]
            + [str(QUIRKS)] * times,
            env=environment(),
            capture_output=True,
            text=True,
            check=True,
        )
        peaks.append([int(kilobytes) / 1024 for kilobytes in result.stdout.split()])
        assert len(read_particles(tmp_path / str(times))) > 100 * times
    for small, large in zip(*peaks, strict=True):
        assert large < 1.25 * small + 20
        assert large < 1500
