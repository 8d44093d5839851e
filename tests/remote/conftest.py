from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple
from uuid import uuid4

import pytest

from pilarnet_convert.storage import connection
from tests.remote.http_server import HttpServer, http_server
from tests.remote.s3_server import S3Server, s3_server
from tests.remote.xrootd_server import xrootd_server


@pytest.fixture
def web(tmp_path: Path) -> Iterator[HttpServer]:
    """A web server of the folder ``tmp_path / "web"``."""
    pytest.importorskip("aiohttp")
    folder = tmp_path / "web"
    folder.mkdir()
    with http_server(folder) as server:
        yield server


@pytest.fixture(scope="session")
def _s3() -> Iterator[S3Server]:
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    with s3_server() as server:
        yield server


@pytest.fixture
def s3(_s3: S3Server) -> Iterator[S3Server]:
    """An S3 server with an empty bucket, `S3Server.bucket`."""
    import s3fs

    _s3.bucket = f"bucket-{uuid4().hex[:8]}"
    s3fs.S3FileSystem().mkdir(_s3.bucket)
    _s3.requests.clear()
    yield _s3
    _s3.refused = lambda _method, _path: False


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Repeat requests soon after they failed."""
    monkeypatch.setattr(connection, "FIRST_PAUSE_S", 0.001)


class Xrootd(NamedTuple):
    """The URL of a server, and the folder that it serves."""

    url: str
    folder: Path


@pytest.fixture
def xrootd() -> Iterator[Xrootd]:
    """An XRootD server of an empty folder."""
    pytest.importorskip("fsspec_xrootd")
    if shutil.which("xrootd") is None:
        pytest.skip("xrootd-server is not installed")
    # Not in pytest's folder, which the server's user could not enter.
    with TemporaryDirectory() as folder:
        data = Path(folder) / "data"
        data.mkdir()
        with xrootd_server(data.parent) as url:
            yield Xrootd(url, data)
