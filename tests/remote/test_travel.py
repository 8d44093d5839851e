"""Bytes that servers send: little more than the baskets that are needed.

The file holds other products between them, and more of these than of what is read.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from pilarnet_convert.readers.larcv2 import index_larcv2
from pilarnet_convert.storage.remote import RemotePath
from tests.pilarnet_convert.inputs import MODERN
from tests.pilarnet_convert.outputs import run_convert
from tests.remote.counting import counting_proxy, needed_bytes

NAME = "dlprod_512px_00.root"


@pytest.fixture
def file(shared_larcv: Path) -> Path:
    return shared_larcv / NAME


def check(file: Path, num_bytes: int) -> None:
    needed = needed_bytes(index_larcv2(file.name, [file]))
    assert needed < num_bytes < 1.1 * needed < 0.5 * file.stat().st_size


def convert_from(folder: str, out: Path) -> None:
    result = run_convert("--input", f"{folder}/{NAME}", "--out", out, "--workers", 1)
    assert result.exit_code == 0, result.stderr


@pytest.mark.parametrize("one_range", [False, True])
def test_from_a_web_server(tmp_path, web, file, one_range):
    shutil.copy(file, tmp_path / "web")
    web.one_range = one_range
    if one_range:  # asked for two, it begins to send the whole file, once
        shutil.copy(MODERN, tmp_path / "web")
        RemotePath(f"{web.url}/{MODERN.name}").read_ranges([(i, i + 1) for i in range(0, 8, 2)])
        web.num_bytes = 0
    convert_from(web.url, tmp_path / "out")
    check(file, web.num_bytes)


def test_from_a_store(tmp_path, s3, file):
    import s3fs

    s3fs.S3FileSystem().put(str(file), f"{s3.bucket}/in/{NAME}")
    s3.num_bytes = 0
    convert_from(f"s3://{s3.bucket}/in", tmp_path / "out")
    check(file, s3.num_bytes)


def test_from_xrootd(tmp_path, xrootd, file):
    shutil.copy(file, xrootd.folder)
    with counting_proxy(urlsplit(xrootd.url).port or 0) as proxy:
        convert_from(f"root://localhost:{proxy.port}//data", tmp_path / "out")
        check(file, proxy.num_bytes)
