"""The same with the real ROOT, LArCV2 and dlp_opendata_api, if they are on the path."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from tests import damage
from tests.sample import MODERN, QUIRKS, SAMPLE

PACKAGES = ("ROOT", "larcv", "osf")
COMPARE = """
import sys
from dataclasses import fields
from pathlib import Path
import numpy as np
from pilarnet_convert.readers.dlp.reader import DlpReader, index_dlp
from pilarnet_convert.readers.larcv2 import Larcv2Reader, index_larcv2
files = [Path(name) for name in sys.argv[1:]]
native, dlp = index_larcv2("a", files), index_dlp("a", files)
assert dlp.files == native.files
for ours, theirs in zip(native.borders, dlp.borders, strict=True):
    np.testing.assert_array_equal(theirs, ours, strict=True)
ours, theirs = (r.read(0, native.num_entries) for r in (Larcv2Reader(native), DlpReader(dlp)))
for field in fields(ours):
    a, b = getattr(ours, field.name), getattr(theirs, field.name)
    if isinstance(a, np.ndarray):
        np.testing.assert_array_equal(b, a, field.name, strict=True)
    else:
        assert a == b, field.name
"""

pytestmark = pytest.mark.skipif(
    any(importlib.util.find_spec(name) is None for name in PACKAGES),
    reason="ROOT, LArCV2 and dlp_opendata_api are not all on the path",
)


def compare(path: Path) -> None:
    # In a process of its own: ROOT cannot be unloaded, and its stand-ins have the same names.
    subprocess.run([sys.executable, "-c", COMPARE, str(path)], check=True, timeout=120)


@pytest.mark.parametrize("path", [SAMPLE, MODERN, QUIRKS], ids=["sample", "modern", "quirks"])
def test_columns_are_those_of_the_native_reader(path):
    compare(path)


def test_root_reads_the_altered_files_as_we_do(tmp_path):
    where = {"entry": 6, "cluster": 2}
    compare(damage.object_wise(SAMPLE, tmp_path / "a.root"))
    compare(damage.with_unsorted_voxels(SAMPLE, tmp_path / "b.root", **where))
    compare(damage.with_voxel_id(SAMPLE, tmp_path / "c.root", **where, voxel=4, value=2**40))
    compare(damage.without_clusters(SAMPLE, tmp_path / "d.root", entry=1, clusters=[0]))
    compare(damage.without_particles(SAMPLE, tmp_path / "e.root", entry=2, particles=[1]))
    compare(damage.with_process(SAMPLE, tmp_path / "f.root", entry=2, particle=0, value=""))
