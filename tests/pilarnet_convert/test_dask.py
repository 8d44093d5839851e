"""Conversions on Dask clusters: the same bytes, and the same messages for failures."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pilarnet_convert import __version__, convert, runner
from pilarnet_convert.errors import PilarnetError
from tests import damage
from tests.pilarnet_convert.clusters import PATIENCE, Programs, deadly, programs, slow, wait_until
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.outputs import contents, convert_process, run_convert
from tests.sample import SAMPLE

distributed = pytest.importorskip("distributed")

INPUTS = [SAMPLE, QUIRKS]
OPTIONS: dict[str, Any] = {"events_per_shard": 6, "min_voxels": 5}
ARGUMENTS = ("--input", *INPUTS, "--events-per-shard", 6, "--min-voxels", 5)


@pytest.fixture(scope="module")
def wanted(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes | None]:
    out = tmp_path_factory.mktemp("wanted") / "shards"
    convert(INPUTS, out, workers=1, **OPTIONS)
    return contents(out)


@pytest.fixture(scope="module")
def client() -> Iterator[Any]:
    """Return the client of a cluster of two processes, which are started again when they die."""
    import dask

    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            n_workers=2,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        yield client


def test_a_client_as_executor(tmp_path: Path, wanted: dict[str, Any], client: Any):
    convert(INPUTS, tmp_path / "shards", executor=client, **OPTIONS)
    assert contents(tmp_path / "shards") == wanted
    assert client.submit(int).result() == 0  # it is still open


def test_from_the_command_line(
    tmp_path: Path, wanted: dict[str, Any], client: Any, monkeypatch: pytest.MonkeyPatch
):
    """With paths relative to where the command runs, which is not where the workers do."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(SAMPLE, tmp_path)
    damage.with_energy(
        QUIRKS, tmp_path / QUIRKS.name, entry=3, cluster=0, voxel=0, value=float("inf")
    )
    said = []
    dask = ("--dask", client.scheduler.address)
    for there, where in ((tmp_path, ("--workers", 1)), (Path(), dask)):
        inputs = ("--input", there / SAMPLE.name, there / QUIRKS.name)
        arguments = (*inputs, "--events-per-shard", 15, "--out", "out", *where)
        bad = run_convert(*arguments)
        assert bad.exit_code == 1
        assert not Path("out/zarr.json").exists()
        skipped = run_convert(*arguments, "--skip-bad-files", "--overwrite")
        assert skipped.exit_code == 3
        again = run_convert(*arguments, "--skip-bad-files", "--resume")
        said.append([bad.stderr, skipped.output, again.output, contents(tmp_path / "out")])
        shutil.rmtree("out")
    assert said[0] == said[1]


def test_a_worker_dies(
    tmp_path: Path, wanted: dict[str, Any], client: Any, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(runner, "run_task", deadly(tmp_path, times=1))
    convert(INPUTS, tmp_path / "shards", executor=client, **OPTIONS)
    assert (tmp_path / "died-0").exists()
    assert contents(tmp_path / "shards") == wanted


def test_workers_that_run_a_task_die(
    tmp_path: Path, wanted: dict[str, Any], client: Any, monkeypatch: pytest.MonkeyPatch
):
    out = tmp_path / "shards"
    with monkeypatch.context() as patch:
        patch.setattr(runner, "run_task", deadly(tmp_path, times=99))
        with pytest.raises(PilarnetError) as error:
            convert(INPUTS, out, executor=client, **OPTIONS)
    assert str(error.value).startswith(
        "a task was given up, for the workers that ran it died (found 2 dead, the last tcp://"
    )
    assert len(list(tmp_path.glob("died-*"))) == 2
    assert not (out / "zarr.json").exists()
    convert(INPUTS, out, executor=client, resume=True, **OPTIONS)
    assert contents(out) == wanted


def test_something_else_as_executor(tmp_path: Path):
    with pytest.raises(TypeError, match=r"an Executor or a distributed\.Client is needed"):
        convert(INPUTS, tmp_path / "shards", executor="tcp://127.0.0.1:8786", **OPTIONS)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("scheduler", "found"),
    [
        ("none.json", "no such file"),
        ("foo://127.0.0.1:1", "unknown address scheme 'foo'"),
        ("127.0.0.1:1", "Timed out trying to connect to tcp://127.0.0.1:1"),
        (str(SAMPLE), "not a scheduler file"),
    ],
)
def test_no_scheduler_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheduler: str, found: str
):
    monkeypatch.setattr("pilarnet_convert.executors.dask._SECONDS_TO_CONNECT", 0.5)
    result = run_convert(*ARGUMENTS, "--out", tmp_path / "out", "--dask", scheduler)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: --dask {scheduler}: no Dask scheduler answers (expected an ad")
    assert found in line
    assert not (tmp_path / "out").exists()


def test_dask_and_workers(tmp_path: Path):
    result = run_convert(*ARGUMENTS, "--out", tmp_path, "--dask", "a:1", "--workers", 2)
    assert result.exit_code == 2
    assert result.stderr == "error: --dask and --workers exclude each other; choose one\n"


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Programs]:
    with programs(tmp_path / "cluster") as started:
        yield started


def begun(tmp_path: Path) -> list[int]:
    """Return the processes that have begun tasks, in the order of the tasks."""
    return [int(path.name.split("-")[2]) for path in sorted(tmp_path.glob("began-*"))]


@pytest.fixture
def dawdling(tmp_path: Path) -> list[str]:
    """Return the command whose tasks take a second each, on one worker or another."""
    program = (
        "from pathlib import Path\n"
        "from pilarnet_convert import runner\n"
        "from pilarnet_convert.cli import convert_command\n"
        "from tests.pilarnet_convert.clusters import slow\n"
        f"runner.run_task = slow(Path({str(tmp_path)!r}))\n"
        "convert_command()\n"
    )
    return [sys.executable, "-c", program]


@pytest.mark.cluster
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_worker_is_lost(
    tmp_path: Path, wanted: dict[str, Any], cluster: Programs, dawdling: list[str], how: int
):
    """Killed, or only out of reach for a while: it goes on while another does its task again."""
    lost, _ = cluster.worker(), cluster.worker()
    out = tmp_path / "shards"
    process = convert_process(dawdling, *ARGUMENTS, "--out", out, "--dask", cluster.file)
    wait_until(lambda: lost.pid in begun(tmp_path))
    os.kill(lost.pid, how)
    (task,) = (p.name.split("-")[1] for p in tmp_path.glob(f"began-*-{lost.pid}"))
    wait_until(lambda: len(list(tmp_path.glob(f"began-{task}-*"))) == 2)
    lost.send_signal(signal.SIGCONT)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stderr) == (0, "")
    assert stdout.startswith("44 events of 2 sources")
    assert contents(out) == wanted


@pytest.mark.cluster
@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_client_is_ended_and_goes_on(
    tmp_path: Path, wanted: dict[str, Any], cluster: Programs, dawdling: list[str], how: int
):
    out = tmp_path / "shards"
    process = convert_process(dawdling, *ARGUMENTS, "--out", out, "--dask", cluster.file)
    cluster.worker()
    wait_until(lambda: len(list(out.glob("train/*/zarr.json"))) > 1)
    process.send_signal(how)
    stdout, stderr = process.communicate(timeout=PATIENCE)
    if how == signal.SIGINT:
        assert (process.returncode, stdout) == (130, "")
        assert stderr.startswith("stopped by SIGINT; continue with the same command and --resume")
        assert len(stderr.splitlines()) == 1
    tasks = len(begun(tmp_path))
    assert tasks < 8
    again = run_convert(*ARGUMENTS, "--out", out, "--dask", cluster.file, "--resume")
    assert (again.exit_code, again.stderr) == (0, "")
    assert len(begun(tmp_path)) <= tasks + 1  # the others were called off
    assert contents(out) == wanted


@pytest.mark.cluster
def test_the_scheduler_is_lost(
    tmp_path: Path, wanted: dict[str, Any], cluster: Programs, dawdling: list[str]
):
    out = tmp_path / "shards"
    process = convert_process(dawdling, *ARGUMENTS, "--out", out, "--dask", cluster.file)
    cluster.worker()
    wait_until(lambda: list(out.glob("train/*/zarr.json")))
    cluster.scheduler.kill()
    stdout, stderr = process.communicate(timeout=PATIENCE)
    assert (process.returncode, stdout) == (1, "")
    assert stderr.startswith("error: the connection to the Dask scheduler is lost")
    assert len(stderr.splitlines()) == 1
    again = run_convert(*ARGUMENTS, "--out", out, "--workers", 1, "--resume")
    assert (again.exit_code, again.stderr) == (0, "")
    assert contents(out) == wanted


@pytest.mark.cluster
@pytest.mark.parametrize("version", ["0.0.9", None])
def test_a_worker_of_another_version(tmp_path: Path, cluster: Programs, version: str | None):
    """Also one where the package is not installed at all."""
    package = tmp_path / "other" / "pilarnet_convert"
    package.mkdir(parents=True)
    text = "raise ImportError" if version is None else f"__version__ = {version!r}"
    (package / "__init__.py").write_text(text)
    cluster.worker(PYTHONPATH=str(package.parent))
    result = run_convert(*ARGUMENTS, "--out", tmp_path / "out", "--dask", cluster.file)
    assert result.exit_code == 1
    assert result.stderr.startswith(
        f"error: a worker has another version of pilarnet-clr (expected {__version__}, found "
        f"{version or 'none'} on "
    )
    assert len(result.stderr.splitlines()) == 1
    assert not list((tmp_path / "out").iterdir())  # nothing was done, and nothing is left


@pytest.mark.cluster
def test_an_adaptive_cluster(
    tmp_path: Path, wanted: dict[str, Any], monkeypatch: pytest.MonkeyPatch
):
    """It has no worker to begin with, grows while there are tasks, and shrinks."""
    monkeypatch.setattr(runner, "run_task", slow(tmp_path, seconds=0.5))
    with (
        distributed.LocalCluster(
            n_workers=0,
            threads_per_worker=1,
            dashboard_address=None,
            silence_logs=logging.CRITICAL,
        ) as cluster,
        distributed.Client(cluster, set_as_default=False) as client,
    ):
        cluster.adapt(minimum=0, maximum=2, interval="200ms", target_duration="1s")
        for name in ("first", "second"):
            convert(INPUTS, tmp_path / name, executor=client, **OPTIONS)
            assert contents(tmp_path / name) == wanted
            wait_until(lambda: not client.scheduler_info()["workers"])
    assert len(set(begun(tmp_path))) > 2


@pytest.mark.cluster
def test_a_worker_that_does_not_see_the_output(tmp_path: Path, cluster: Programs):
    """A worker in a name space of its own, where another folder lies over the output."""
    hide = ["unshare", "--mount", "--propagation", "private"]
    if subprocess.run([*hide, "true"], check=False, capture_output=True).returncode:
        pytest.skip("no name space can be made here")
    out = tmp_path / "share" / "shards"
    out.parent.mkdir()
    cluster.worker(*hide, "sh", "-c", f'mount -t tmpfs tmpfs {out.parent} && exec "$@"', "sh")
    result = run_convert(*ARGUMENTS, "--out", out, "--dask", cluster.file)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {out}: a worker does not see the output folder; name one on a file system that "
        "all workers share\n"
    )
