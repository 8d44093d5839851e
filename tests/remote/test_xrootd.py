"""Conversion from an XRootD server: Debian's server, the client of the package ``xrootd``."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pilarnet_convert import larcv3_files
from tests.pilarnet_convert.inputs import MODERN
from tests.pilarnet_convert.outputs import contents, run_convert
from tests.remote.xrootd_server import xrootd_server
from tests.sample import SAMPLE


@pytest.fixture
def xrootd(tmp_path: Path) -> Iterator[str]:
    """A server of ``tmp_path / "export" / "data"``: its URL."""
    pytest.importorskip("fsspec_xrootd")
    if shutil.which("xrootd") is None:
        pytest.skip("xrootd-server is not installed")
    (tmp_path / "export" / "data").mkdir(parents=True)
    with xrootd_server(tmp_path / "export") as url:
        yield url


def test_same_bytes_by_name_glob_and_folder(tmp_path, xrootd):
    for file in (SAMPLE, MODERN):
        shutil.copy(file, tmp_path / "export" / "data")
    sources = sorted([SAMPLE, MODERN], key=lambda path: path.name)
    expected = tmp_path / "expected"
    assert run_convert("--input", *sources, "--out", expected, "--workers", 1).exit_code == 0
    names = [f"{xrootd}/{path.name}" for path in sources]
    for number, inputs in enumerate((names, [f"{xrootd}/*_192px_*.root"], [xrootd])):
        out = tmp_path / str(number)
        result = run_convert("--input", *inputs, "--out", out, "--workers", 1 + (number > 0))
        assert result.exit_code == 0, result.stderr
        assert contents(out) == contents(expected)


def test_hdf5(tmp_path, xrootd):
    path = tmp_path / "export" / "data" / "a.h5"
    larcv3_files.write_larcv3(path, larcv3_files.random_events(1))
    for out, name in (("expected", path), ("found", f"{xrootd}/a.h5")):
        result = run_convert("--input", name, "--out", tmp_path / out, "--workers", 1)
        assert result.exit_code == 0, result.stderr
    assert contents(tmp_path / "found") == contents(tmp_path / "expected")


def test_output(tmp_path, xrootd):
    expected = tmp_path / "expected"
    options = ("--workers", 1, "--splits", "train=1")
    assert run_convert("--input", SAMPLE, "--out", expected, *options).exit_code == 0
    result = run_convert("--input", SAMPLE, "--out", f"{xrootd}/shards", *options)
    assert result.exit_code == 0, result.stderr
    assert contents(tmp_path / "export" / "data" / "shards") == contents(expected)


def test_file_that_is_not_there(tmp_path, xrootd):
    url = f"{xrootd}/none.root"
    result = run_convert("--input", url, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {url}: no such file or folder (found ")
