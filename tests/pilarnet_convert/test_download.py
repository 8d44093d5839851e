"""Downloads from a server that answers as the archives do, with failing networks and disks."""

from __future__ import annotations

import re
import resource
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from pilarnet_convert.download import catalogue, datasets, transfer, web
from pilarnet_convert.download.cli import download_command
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError
from tests.pilarnet_convert.archives import Archives, served
from tests.pilarnet_convert.clusters import PATIENCE

NUMBER = 10


def _bytes(seed: int, size: int) -> bytes:
    return np.random.default_rng(seed).bytes(size)


@pytest.fixture
def archives(monkeypatch: pytest.MonkeyPatch) -> Iterator[Archives]:
    """Ten files by their identifiers, two more of 192 voxels, and a hub with three splits."""
    identifiers = datasets.IDENTIFIERS["512"].split()
    assert len(identifiers) == NUMBER
    osf = {
        name: ("", f"dlprod_512px_{i:02d}.root", _bytes(i, 50_000 + i))
        for i, name in enumerate(identifiers)
    }
    osf["aaaaa"] = ("small/", "dlprod_192px_00.root", _bytes(20, 3000))
    osf["bbbbb"] = ("small/", "README.md", b"about")
    component = {"ccccc": ("", "dlprod_192px_01.root", _bytes(21, 4000))}
    hub = {f"{split}/generic_v2_20_v2.h5": _bytes(30, 9000) for split in ("train", "val", "test")}
    hub |= {"README.md": b"card", ".gitattributes": b"*.h5 filter=lfs"}
    have = Archives(osf=osf, component=component, hub=hub)
    monkeypatch.setattr(web, "FIRST_PAUSE_S", 0.0)
    monkeypatch.setattr(web, "_PIECE", 500)
    with served(have) as address:
        monkeypatch.setattr(datasets, "OSF", f"{address}/v2")
        monkeypatch.setattr(datasets, "HUB", address)
        yield have


def run(*args: object) -> Result:
    return CliRunner().invoke(download_command, [str(arg) for arg in args])


def _files(folder: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".download.lock"
    }


def _of_512(archives: Archives) -> dict[str, bytes]:
    return {name: data for _, name, data in archives.osf.values() if "512px" in name}


def test_files_by_identifier_under_their_own_names(archives: Archives, tmp_path: Path):
    archives.together = 4
    result = run("pilarnet-512", "--out", tmp_path)
    assert result.output == f"wrote {tmp_path}: 10 files, 0.5 MB\n"
    assert _files(tmp_path) == _of_512(archives)
    assert archives.most_running == 4


def test_files_of_folders_and_components(archives: Archives, tmp_path: Path):
    assert run("pilarnet-192", "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == {
        "dlprod_192px_00.root": archives.osf["aaaaa"][2],
        "dlprod_192px_01.root": archives.component["ccccc"][2],
    }


@pytest.mark.parametrize("name", ["pilarnet-m", "pilarnet-m-mini"])
def test_the_hub(archives: Archives, tmp_path: Path, name: str):
    assert run(name, "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == {n: d for n, d in archives.hub.items() if n != ".gitattributes"}
    paths = [path for path, _ in archives.requests]
    repository = {"pilarnet-m": "PILArNet-M", "pilarnet-m-mini": "PILArNet-M-mini"}[name]
    revision = {"pilarnet-m": "v3", "pilarnet-m-mini": "main"}[name]
    assert f"/api/datasets/DeepLearnPhysics/{repository}/tree/{revision}" in paths
    resolved = f"/datasets/DeepLearnPhysics/{repository}/resolve/{revision}/README.md"
    assert resolved in paths


def test_one_split_of_a_revision(archives: Archives, tmp_path: Path):
    arguments = ("pilarnet-m", "--split", "val", "--revision", "refs/pr/1", "--out", tmp_path)
    assert run(*arguments).exit_code == 0
    assert list(_files(tmp_path)) == ["val/generic_v2_20_v2.h5"]
    assert archives.requests[0][0].endswith("/tree/refs%2Fpr%2F1")


def test_a_dry_run_lists_and_writes_nothing(archives: Archives, tmp_path: Path):
    result = run("pilarnet-m-mini", "--out", tmp_path / "out", "--dry-run")
    assert result.exit_code == 0
    assert [line.split() for line in result.output.splitlines()] == [
        ["0.0", "MB", "README.md"],
        *(["0.0", "MB", f"{split}/generic_v2_20_v2.h5"] for split in ("test", "train", "val")),
        ["4", "files,", "0.0", "MB"],
    ]
    assert not (tmp_path / "out").exists()
    assert not any(path.startswith("/storage") for path, _ in archives.requests)


def test_what_is_there_is_not_fetched_again(archives: Archives, tmp_path: Path):
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    archives.requests.clear()
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    assert not any(path.startswith("/storage") for path, _ in archives.requests)


def test_dropped_connections_are_resumed(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(transfer, "_AT_A_TIME", 1)  # so that each drop meets the same file
    archives.drops = [1000, 30_000, 0, 20_000, 1, 49_000, 0, 0]
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == _of_512(archives)
    resumed = [span for path, span in archives.requests if path.startswith("/storage") and span]
    assert len(resumed) >= 4  # as many drops were beyond the first piece
    assert resumed[:3] == ["bytes=1000-", "bytes=31000-", "bytes=31000-"]


def test_a_download_that_was_stopped_goes_on(archives: Archives, tmp_path: Path):
    (tmp_path / "dlprod_512px_03.root.part").write_bytes(_bytes(3, 50_003)[:20_000])
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == _of_512(archives)
    spans = [span for path, span in archives.requests if path.startswith("/storage") and span]
    assert spans == ["bytes=20000-"]


def test_a_server_without_ranges_starts_over(archives: Archives, tmp_path: Path):
    archives.ignores_ranges = True
    (tmp_path / "dlprod_512px_03.root.part").write_bytes(b"something else")
    archives.drops = [40_000]
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == _of_512(archives)


def test_a_busy_server_is_asked_again(archives: Archives, tmp_path: Path):
    archives.unavailable = 5
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == _of_512(archives)


def test_a_connection_that_stays_lost_is_named(archives: Archives, tmp_path: Path):
    archives.drops = [0] * 100
    result = run("pilarnet-192", "--out", tmp_path)
    assert result.exit_code == 1
    assert "2 of 2 files cannot be fetched" in result.stderr
    assert "the connection is lost" in result.stderr
    archives.drops = []
    assert run("pilarnet-192", "--out", tmp_path).exit_code == 0
    assert len(_files(tmp_path)) == 2


def test_redirections_without_end(
    archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    get = web.requests.get

    def get_or_go_round(url: str, **options: Any) -> Any:
        if "/download/" in url:
            raise web.requests.TooManyRedirects("Exceeded 30 redirects.")
        return get(url, **options)

    monkeypatch.setattr(web.requests, "get", get_or_go_round)
    result = run("pilarnet-512", "--out", tmp_path)
    assert result.exit_code == 1
    assert "10 of 10 files cannot be fetched" in result.stderr
    assert "the connection is lost (found Exceeded 30 redirects.)" in result.stderr


def test_a_wrong_checksum(archives: Archives, tmp_path: Path):
    archives.wrong_sha256 = "0" * 64
    result = run("pilarnet-m-mini", "--split", "val", "--out", tmp_path)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert "val/generic_v2_20_v2.h5: the file is not the one that the archive lists" in line
    assert f"expected SHA-256 {'0' * 64}, found " in line
    assert _files(tmp_path) == {}  # nothing that a later run would go on with
    archives.wrong_sha256 = None
    assert run("pilarnet-m-mini", "--split", "val", "--out", tmp_path).exit_code == 0


def test_the_rest_is_fetched_when_one_file_is_wrong(archives: Archives, tmp_path: Path):
    files = catalogue.list_files("pilarnet-m-mini")
    bad = [transfer.ListedFile(**{**vars(files[1]), "sha256": "1" * 64})]
    with pytest.raises(PilarnetError, match="not the one that the archive lists"):
        transfer.fetch_all([files[0], *bad, *files[2:]], tmp_path)
    assert len(_files(tmp_path)) == len(files) - 1


def test_another_file_of_the_name_is_kept(archives: Archives, tmp_path: Path):
    (tmp_path / "dlprod_512px_00.root").write_text("mine")
    result = run("pilarnet-512", "--out", tmp_path)
    assert result.exit_code == 1
    assert "another file of this name is there (expected 50000 bytes, found 4)" in result.stderr
    assert (tmp_path / "dlprod_512px_00.root").read_text() == "mine"


def test_too_little_space(archives: Archives, tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    full = SimpleNamespace(free=100)
    monkeypatch.setattr(shutil, "disk_usage", lambda _path: full)
    result = run("pilarnet-512", "--out", tmp_path)
    assert result.exit_code == 1
    assert "not enough space (expected 0.0 GB, found 0.0 GB)" in result.stderr
    assert _files(tmp_path) == {}


def test_a_disk_that_fills_up(archives: Archives, tmp_path: Path):
    """A limit on the size of files makes a write fail, as a full disk does."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (30_000, hard))
    try:
        result = run("pilarnet-512", "--out", tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert result.exit_code == 1
    part = rf"{tmp_path}/dlprod_512px_\d\d\.root\.part"
    assert re.fullmatch(rf"error: {part}: --out: File too large\n", result.stderr)
    assert all(name.endswith(".part") for name in _files(tmp_path))
    assert run("pilarnet-512", "--out", tmp_path).exit_code == 0
    assert _files(tmp_path) == _of_512(archives)


def test_a_file_that_is_gone(archives: Archives, tmp_path: Path):
    del archives.osf["eagwu"]
    result = run("pilarnet-512", "--out", tmp_path)
    assert result.exit_code == 1
    assert "/guids/eagwu/: the server refuses (found status 404 Not Found)" in result.stderr


@pytest.mark.parametrize("path", ["../escape.h5", "/etc/passwd", "train/../../escape.h5"])
def test_names_that_lead_out_of_the_folder(archives: Archives, tmp_path: Path, path: str):
    archives.hub = {path: b"bytes"}
    result = run("pilarnet-m", "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert f"a file with an unusable name (found {path})" in result.stderr


def test_answers_that_are_not_as_documented(
    archives: Archives, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    monkeypatch.setattr(catalogue, "get_json", lambda _url: ({"message": "hello"}, None))
    for name in ("pilarnet-512", "pilarnet-192", "pilarnet-m"):
        result = run(name, "--out", tmp_path)
        assert result.exit_code == 1
        assert "does not answer as documented" in result.stderr


def test_no_files_of_a_data_set(archives: Archives, tmp_path: Path):
    archives.osf, archives.component = {}, {}
    result = run("pilarnet-192", "--out", tmp_path)
    assert "lists no files of this data set; look at https://osf.io/vruzp" in result.stderr


def test_two_downloads_into_one_folder(archives: Archives, tmp_path: Path):
    hold = (
        "import fcntl, sys, time; f = open(sys.argv[1], 'w'); fcntl.flock(f, fcntl.LOCK_EX); "
        "print('held', flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", hold, str(tmp_path / ".download.lock")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        result = run("pilarnet-512", "--out", tmp_path)
        other.kill()
    assert (result.exit_code, "another download is running here" in result.stderr) == (1, True)


def test_ctrl_c_does_not_wait_for_a_server_that_does_not_answer(tmp_path: Path):
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/a"
        program = (
            "import sys\n"
            "from pathlib import PurePosixPath\n"
            "from pilarnet_convert.download import catalogue, web\n"
            "from pilarnet_convert.download.cli import download_command\n"
            "file = dict(path=PurePosixPath('a'), url=sys.argv[1], size=5, sha256=None)\n"
            "catalogue.list_files = lambda *_, **__: [catalogue.ListedFile(**file)]\n"
            "web._TIMEOUT_S = None\n"
            "download_command(['pilarnet-512', '--out', sys.argv[2]])\n"
        )
        command = [sys.executable, "-c", program, address, str(tmp_path)]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            connection, _ = server.accept()
            process.send_signal(signal.SIGINT)
            _, stderr = process.communicate(timeout=PATIENCE)
            connection.close()
    assert process.returncode == 130
    assert stderr == "stopped by SIGINT; what was finished is kept\n"


def test_wrong_usage(archives: Archives, tmp_path: Path):
    assert run("pilarnet-1024", "--out", tmp_path).exit_code == 2
    result = run("pilarnet-512", "--split", "val", "--out", tmp_path)
    assert (result.exit_code, "--split: pilarnet-512 is one set" in result.stderr) == (2, True)
    with pytest.raises(OptionError, match="no such split"):
        catalogue.list_files("pilarnet-m", splits=["all"])
    with pytest.raises(OptionError, match="no such data set"):
        catalogue.list_files("pilarnet")


def test_without_requests():
    program = (
        "import sys; sys.modules['requests'] = None\n"
        "from pilarnet_convert.download.cli import download_command\n"
        "download_command(['pilarnet-512', '--out', 'x'])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr == (
        "error: files are fetched by requests, which is not installed; "
        "pip install 'pilarnet-clr[download]', or in a checkout pip install '.[download]'\n"
    )
