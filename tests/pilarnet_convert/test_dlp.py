"""The reader through ROOT, LArCV2 and dlp_opendata_api agrees with the native reader."""

from __future__ import annotations

import itertools
import json
import os
import subprocess
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilarnet_convert.conversion import convert
from pilarnet_convert.errors import InputError, MissingDependencyError
from pilarnet_convert.readers.dlp.packages import load_packages
from pilarnet_convert.readers.dlp.reader import DlpReader, index_dlp
from pilarnet_convert.readers.events import Events
from pilarnet_convert.readers.larcv2 import Larcv2Reader, index_larcv2
from tests import damage
from tests.sample import MODERN, QUIRKS, SAMPLE

FAKES = Path(__file__).parents[1] / "fakes"
ROOT_FOLDER = Path(__file__).parents[2]
PACKAGES = {"ROOT": "root", "larcv": "larcv2", "osf": "dlp"}


@pytest.fixture
def installed(monkeypatch):
    """Put the three packages on the path, as a user's set-up scripts do."""
    for folder in PACKAGES.values():
        monkeypatch.syspath_prepend(FAKES / folder)
    monkeypatch.setenv("LARCV_BASEDIR", "/opt/larcv2")
    monkeypatch.setenv("LARCV_NUMPY", "1")
    yield
    for name in [n for n in sys.modules if n.partition(".")[0] in PACKAGES]:
        del sys.modules[name]


def differences(ours: Events, theirs: Events) -> list[str]:
    """Name the fields that differ in a bit, in type or in shape."""

    def same(a: Any, b: Any) -> bool:
        if isinstance(a, np.ndarray):
            return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())
        return bool(a == b)

    names = [field.name for field in fields(Events)]
    return [name for name in names if not same(getattr(ours, name), getattr(theirs, name))]


def read_both(files: list[Path], *span: int) -> tuple[Events, Events]:
    native, dlp = index_larcv2("a", files), index_dlp("a", files)
    start, stop = span or (0, native.num_entries)
    with Larcv2Reader(native) as one, DlpReader(dlp) as other:
        return one.read(start, stop), other.read(start, stop)


@pytest.mark.parametrize("span", [(0, 20), (7, 12), (19, 20), (5, 5)])
def test_columns_are_those_of_the_native_reader(installed, capfd, span):
    native, dlp = read_both([SAMPLE], *span)
    assert differences(native, dlp) == []
    assert dlp.num_events == span[1] - span[0]
    assert capfd.readouterr() == ("", "")


def test_ranges_in_any_order(installed):
    native, dlp = index_larcv2("a", [SAMPLE]), index_dlp("a", [SAMPLE])
    with Larcv2Reader(native) as one, DlpReader(dlp) as other:
        for span in [(12, 15), (0, 3), (12, 15)]:
            assert differences(one.read(*span), other.read(*span)) == []


@pytest.mark.parametrize("path", [MODERN, QUIRKS], ids=["modern", "quirks"])
def test_other_generations_of_the_schema(installed, path):
    assert differences(*read_both([path])) == []


def test_source_is_that_of_the_native_reader(installed):
    native, dlp = index_larcv2("a", [SAMPLE]), index_dlp("a", [SAMPLE])
    assert (dlp.name, dlp.files, dlp.num_entries) == (native.name, native.files, 20)
    for ours, theirs in zip(native.borders, dlp.borders, strict=True):
        assert ours.tolist() == theirs.tolist()


def test_what_tells_the_units_is_that_of_the_native_reader(installed):
    native, dlp = index_larcv2("a", [SAMPLE]), index_dlp("a", [SAMPLE])
    for ours, theirs in zip(dlp.truth(3, 9), native.truth(3, 9), strict=True):
        assert ours.dtype == theirs.dtype
        assert ours.tobytes() == theirs.tobytes()


@pytest.mark.parametrize("first", [0, 1])
def test_products_in_two_files(installed, capfd, tmp_path, first):
    files = [
        damage.without_product(SAMPLE, tmp_path / "c.root", tree=damage.PARTICLES),
        damage.without_product(SAMPLE, tmp_path / "p.root", tree=damage.CLUSTERS),
    ]
    files = [files[first], files[1 - first]]
    assert index_dlp("a", files).files == index_larcv2("a", files).files
    assert differences(*read_both(files, 0, 3)) == []
    assert capfd.readouterr() == ("", "")


def test_shards_are_those_of_the_native_reader(installed, tmp_path):
    for reader in ("larcv2", "dlp"):
        convert([SAMPLE, QUIRKS], tmp_path / reader, reader=reader, workers=1)
    native, dlp = (
        {p.relative_to(tmp_path / reader): p.read_bytes() for p in files if p.is_file()}
        for reader in ("larcv2", "dlp")
        for files in [(tmp_path / reader).rglob("*")]
    )
    assert len(native) > 50
    root = Path("zarr.json")
    told = [json.loads(files.pop(root))["attributes"] for files in (native, dlp)]
    assert dlp == native
    for attributes, reader in zip(told, ("larcv2", "dlp"), strict=True):
        attributes.pop("checksum")
        assert {source.pop("reader") for source in attributes["sources"]} == {reader}
    assert told[0] == told[1]


@pytest.mark.parametrize("value", [2**31, 2**32 + 5, 2**40, 2**64 - 1])
def test_ids_that_no_c_integer_holds(installed, tmp_path, value):
    path = damage.with_voxel_id(
        SAMPLE, tmp_path / "a.root", entry=6, cluster=2, voxel=4, value=value
    )
    native, dlp = read_both([path], 5, 8)
    assert differences(native, dlp) == []
    assert np.uint64(value).astype(np.int64) in dlp.voxel_id


def test_unsorted_voxels_keep_their_order(installed, tmp_path):
    path = damage.with_unsorted_voxels(SAMPLE, tmp_path / "a.root", entry=6, cluster=2)
    assert differences(*read_both([path], 5, 8)) == []


def faults(tmp_path: Path) -> list[Path]:
    both = [damage.CLUSTERS, damage.PARTICLES]
    return [
        damage.not_root(tmp_path / "a.root"),
        damage.truncated(SAMPLE, tmp_path / "b.root", size=-1000),
        damage.not_closed(SAMPLE, tmp_path / "c.root"),
        damage.without_product(SAMPLE, tmp_path / "d.root", tree=damage.PARTICLES),
        damage.with_entries(SAMPLE, tmp_path / "e.root", count=7, trees=both[:1]),
        damage.with_entries(SAMPLE, tmp_path / "f.root", count=0, trees=both),
        damage.with_id(
            *(SAMPLE, tmp_path / "g.root"), tree=both[1], entry=3, field="subrun", value=1
        ),
    ]


def test_faults_are_told_in_the_words_of_the_native_reader(installed, capfd, tmp_path):
    for path in faults(tmp_path):
        with pytest.raises(InputError) as ours:
            read_both([path])
        with pytest.raises(InputError) as theirs:
            DlpReader(index_dlp("a", [path])).read(0, 5)
        assert str(theirs.value) == str(ours.value)
    assert capfd.readouterr() == ("", "")


def test_a_broken_basket_is_not_the_event_before(installed, capfd, tmp_path):
    path = damage.with_broken_basket(SAMPLE, tmp_path / "a.root", basket=3)
    with DlpReader(index_dlp("a", [path])) as reader:
        first = int(reader.source.borders[0][3])
        assert reader.read(0, first).num_events == first
        with pytest.raises(InputError, match=f"entry {first}: cluster3d_mcst_tree: .*damaged"):
            reader.read(first - 1, first + 1)
    assert capfd.readouterr() == ("", "")


def test_an_exception_of_cpp_is_a_damaged_entry(installed, tmp_path):
    path = damage.with_voxel_count(SAMPLE, tmp_path / "a.root", entry=6, value=2**31)
    reader = DlpReader(index_dlp("a", [path]))
    with pytest.raises(InputError, match=r"entry 6: cluster3d_mcst_tree: .*found bad_alloc"):
        reader.read(0, 20)


@pytest.mark.parametrize("null", [True, False])
def test_root_refuses_the_file(installed, monkeypatch, capfd, null):
    import ROOT

    def refuse(_file: Any, _path: str) -> None:
        raise ValueError("unknown compression")

    monkeypatch.setattr(ROOT.TFile, "__init__", refuse)
    monkeypatch.setattr(ROOT.TFile, "null_on_failure", null)
    with pytest.raises(InputError, match=r"px_00\.root: ROOT cannot read it; fetch or copy"):
        index_dlp("a", [SAMPLE])
    assert capfd.readouterr() == ("", "")


TRY = """
from pilarnet_convert.readers.dlp.packages import load_packages
from pilarnet_convert.errors import MissingDependencyError
try:
    load_packages()
except MissingDependencyError as error:
    print(error)
"""


def start(*folders: str, **environment: str) -> subprocess.Popen[str]:
    path = os.pathsep.join([str(ROOT_FOLDER), *(str(FAKES / folder) for folder in folders)])
    return subprocess.Popen(
        [sys.executable, "-c", TRY],
        env={**os.environ, "LARCV_BASEDIR": "/opt", "LARCV_NUMPY": "1", "PYTHONPATH": path}
        | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def test_every_combination_of_missing_packages(monkeypatch):
    for here in itertools.product([True, False], repeat=3):
        folders = [str(FAKES / folder) for folder in itertools.compress(PACKAGES.values(), here)]
        missing = [name for name, is_here in zip(PACKAGES, here, strict=True) if not is_here]
        if not missing:
            continue
        with monkeypatch.context() as patch:
            patch.setattr(sys, "path", folders)
            with pytest.raises(MissingDependencyError) as error:
                load_packages()
        line = str(error.value)
        assert f"of which {', '.join(missing)} " in line
        assert "the native reader needs none of them" in line
        for name, remedy in [
            ("ROOT", "thisroot.sh"),
            ("larcv", "configure.sh"),
            ("osf", "PYTHONPATH"),
        ]:
            assert (remedy in line) == (name in missing)


@pytest.mark.parametrize(
    ("folders", "environment", "said"),
    [
        (("root", "larcv3", "dlp"), {}, "larcv: this is LArCV3, which reads HDF5"),
        (("root", "larcv2", "other"), {}, "osf: this is another package named osf"),
        (("root", "larcv2", "dlp"), {"LARCV_NUMPY": "0"}, "LArCV2 was built without numpy"),
    ],
)
def test_packages_that_are_not_the_ones_meant(folders, environment, said):
    output, _ = start(*folders, **environment).communicate(timeout=60)
    assert said in output
    assert "the native reader needs none of them" in output
    assert output.count("\n") == 1


def test_a_package_that_ends_the_interpreter_does_not(installed, monkeypatch, capfd):
    import ROOT

    monkeypatch.delattr(ROOT, "TChain")
    with pytest.raises(MissingDependencyError) as caught:
        index_dlp("a", [SAMPLE])
    assert str(caught.value).startswith("osf: is on Python's path but does not import")
    assert "SystemExit: ROOT and larcv are required!" in str(caught.value)
    assert capfd.readouterr() == ("", "")


def test_a_package_without_its_environment(installed, monkeypatch, capfd):
    monkeypatch.delenv("LARCV_BASEDIR")
    with pytest.raises(MissingDependencyError) as caught:
        index_dlp("a", [SAMPLE])
    assert str(caught.value).startswith("larcv: is on Python's path but does not import")
    assert "$LARCV_BASEDIR is not set" in str(caught.value)
    assert capfd.readouterr() == ("", "")
