"""Conversion from an XRootD server: Debian's server, the client of the package ``xrootd``."""

from __future__ import annotations

import shutil
import subprocess
import sys

from tests.pilarnet_convert import larcv3_files
from tests.pilarnet_convert.inputs import MODERN
from tests.pilarnet_convert.outputs import contents, run_convert
from tests.sample import SAMPLE


def test_same_bytes_by_name_glob_and_folder(tmp_path, xrootd):
    for file in (SAMPLE, MODERN):
        shutil.copy(file, xrootd.folder)
    sources = sorted([SAMPLE, MODERN], key=lambda path: path.name)
    expected = tmp_path / "expected"
    assert run_convert("--input", *sources, "--out", expected, "--workers", 1).exit_code == 0
    names = [f"{xrootd.url}/{path.name}" for path in sources]
    for number, inputs in enumerate((names, [f"{xrootd.url}/*_192px_*.root"], [xrootd.url])):
        out = tmp_path / str(number)
        result = run_convert("--input", *inputs, "--out", out, "--workers", 1 + (number > 0))
        assert result.exit_code == 0, result.stderr
        assert contents(out) == contents(expected)


def test_hdf5(tmp_path, xrootd):
    path = xrootd.folder / "a.h5"
    larcv3_files.write_larcv3(path, larcv3_files.random_events(1))
    for out, name in (("expected", path), ("found", f"{xrootd.url}/a.h5")):
        result = run_convert("--input", name, "--out", tmp_path / out, "--workers", 1)
        assert result.exit_code == 0, result.stderr
    assert contents(tmp_path / "found") == contents(tmp_path / "expected")


def test_output(tmp_path, xrootd):
    expected = tmp_path / "expected"
    options = ("--workers", 1, "--splits", "train=1")
    assert run_convert("--input", SAMPLE, "--out", expected, *options).exit_code == 0
    result = run_convert("--input", SAMPLE, "--out", f"{xrootd.url}/shards", *options)
    assert result.exit_code == 0, result.stderr
    assert contents(xrootd.folder / "shards") == contents(expected)


def test_file_that_is_not_there(tmp_path, xrootd):
    url = f"{xrootd.url}/none.root"
    result = run_convert("--input", url, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    assert result.stderr.startswith(f"error: {url}: no such file or folder (found ")


def test_nothing_is_printed_at_exit_beside_torch(xrootd):
    program = (
        "import sys, torch.distributed\n"
        "from pilarnet_convert.storage.remote import RemotePath\n"
        "print(RemotePath(sys.argv[1]).exists())\n"
    )
    command = [sys.executable, "-c", program, f"{xrootd.url}/none.root"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("False\n", "")
