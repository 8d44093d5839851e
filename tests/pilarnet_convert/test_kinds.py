"""The kind of a file is recognised by its content; files of other kinds are reported."""

from __future__ import annotations

import gzip
import json
import os
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import uproot

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.errors import InputError, PilarnetError, listed
from pilarnet_convert.readers import index_source
from pilarnet_convert.readers.kinds import Reading, reader_of
from pilarnet_convert.readers.repeats import merge_repeats
from pilarnet_convert.readers.sources import SourceFiles
from tests import damage
from tests.conftest import SHARED
from tests.pilarnet_convert.inputs import QUIRKS, SPLIT
from tests.pilarnet_convert.larcv3_files import random_events as larcv3_events
from tests.pilarnet_convert.larcv3_files import write_larcv3
from tests.pilarnet_convert.outputs import read_particles, run_convert
from tests.pilarnet_convert.pilarnet_m_files import random_events, write_hdf5, write_parquet
from tests.sample import SAMPLE

REAL = SHARED.parent / "real"


def packed(path: Path, source: Path) -> Path:
    path.write_bytes(gzip.compress(source.read_bytes()))
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("a", "b")
    return path


def histograms(path: Path) -> Path:
    with uproot.recreate(path) as file:
        for number in range(20):
            file[f"histogram{number:02d}"] = np.histogram(np.arange(5))
    return path


def another_tree(path: Path) -> Path:
    with uproot.recreate(path) as file:
        file.mktree("Events", {"pt": "f8"}).extend({"pt": np.arange(5.0)})
    return path


def ntuple(path: Path) -> Path:
    with uproot.recreate(path) as file:
        file.mkrntuple("events", {"pt": np.arange(5.0)})
    return path


def ntuple_of_products(path: Path) -> Path:
    with uproot.recreate(path) as file:
        for name in (damage.CLUSTERS, damage.PARTICLES):
            file.mkrntuple(name, {"_run": np.arange(5.0)})
    return path


def single_numbers(path: Path) -> Path:
    """Write trees with one number where LArCV2 has one for each particle."""
    with uproot.recreate(path) as file:
        for name in (damage.CLUSTERS, damage.PARTICLES):
            file.mktree(name, {"_part_v._pdg": "int32"})
            file[name].extend({"_part_v._pdg": np.arange(5, dtype=np.int32)})
    return path


def images(path: Path) -> Path:
    with h5py.File(path, "w") as file:
        for number in range(15):
            file[f"image{number:02d}"] = np.zeros(3)
    return path


def real(name: str) -> Callable[[Path], Path]:
    def copy(path: Path) -> Path:
        if not (REAL / name).exists():
            pytest.skip("the real files are not here")
        return Path(shutil.copy(REAL / name, path))

    return copy


OTHERS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "gzip": (lambda path: packed(path, SAMPLE), "a ROOT file packed with gzip"),
    "gzip-hdf5": (lambda path: packed(path, images(path)), "an HDF5 file packed with gzip"),
    "zip": (zipped, "packed with zip"),
    "histograms": (histograms, "cluster3d_mcst_tree: a ROOT file of histograms (found"),
    "another-tree": (another_tree, "cluster3d_mcst_tree: a product is missing (found Events"),
    "rntuple": (ntuple, "an RNTuple file, which LArCV2 does not write"),
    "rntuple-of-products": (ntuple_of_products, "cluster3d_mcst_tree: not a tree (expected"),
    "single-numbers": (
        single_numbers,
        "particle_mcst_tree/_part_v._pdg: a branch is of another type than in LArCV2 (expected",
    ),
    "hdf5": (images, "an HDF5 file of another kind (expected the groups Data and Events"),
    "larcv1": (real("proton_roi.root"), "a file of LArCV1, which has no clusters of particles in"),
    "no-3d": (real("electron.root"), "cluster3d_mctruth_tree: a product is missing (found part"),
    "text": (lambda path: path.write_text("x" * 9) and path, "not a kind of file"),
}


@pytest.mark.parametrize("kind", OTHERS)
def test_other_files_are_named(tmp_path: Path, kind: str):
    make, says = OTHERS[kind]
    path = make(tmp_path / "a.root")
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {path}: ")
    assert says in line


@pytest.mark.parametrize("kind", ["pilarnet-m", "parquet", "larcv3"])
def test_bytes_broken_anywhere_are_an_input_error_or_harmless(tmp_path: Path, kind: str):
    """Whatever bytes a bad disk changes, the only error is an `InputError`."""
    path = tmp_path / "a"
    if kind == "larcv3":
        write_larcv3(path, larcv3_events(1), compression="gzip")
    else:
        (write_parquet if kind == "parquet" else write_hdf5)(path, random_events(1, num_events=5))
    whole = path.read_bytes()
    random = np.random.default_rng(5)
    places = np.flatnonzero(np.frombuffer(whole, np.uint8))
    errors = []
    for _ in range(60):
        data = bytearray(whole)
        at = int(random.choice(places))
        data[at : at + 4] = random.bytes(4)
        path.write_bytes(data[: len(whole)])
        try:
            files = SourceFiles(name="a", files=(path,), num_named=1)
            (source,) = index_source(files, reading=Reading())
            source.numbers()
            with source.open() as reader:
                merge_repeats(reader.read(0, source.num_entries))
        except InputError as error:
            errors.append(str(error))
    assert errors
    assert all(str(path) in error for error in errors)


def test_a_list_of_names_is_cut_at_a_dozen(tmp_path: Path):
    assert listed(["a"] * 12) == ", ".join(["a"] * 12)
    assert listed(f"n{i}" for i in range(14)).endswith("n10, n11 and 2 more")
    for make, more in ((histograms, "and 8 more"), (images, "and 3 more")):
        path = make(tmp_path / "a")
        result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
        assert more in result.stderr


def test_names_say_nothing(tmp_path: Path):
    events = random_events(1)
    made = {
        "larcv2": shutil.copy(SAMPLE, tmp_path / "a.h5"),
        "larcv3": write_larcv3(tmp_path / "b.root", larcv3_events(1)),
        "pilarnet-m": write_hdf5(tmp_path / "c.parquet", events),
    }
    for reader, path in made.items():
        assert reader_of(Path(path)) == reader
    assert reader_of(write_parquet(tmp_path / "d.hdf5", events)) == "pilarnet-m"
    with h5py.File(tmp_path / "e", "w", userblock_size=1024) as file:
        file.create_group("Data")
        file.create_group("Events")
    assert reader_of(tmp_path / "e") == "larcv3"


def folder_of_all_kinds(folder: Path) -> Path:
    """Fill a folder with a file of each kind, something else, and links."""
    (folder / "deep").mkdir(parents=True)
    shutil.copy(SAMPLE, folder / "a.root")
    shutil.copytree(SPLIT.parent, folder / "archive")
    write_larcv3(folder / "deep" / "b.h5", larcv3_events(1, num_events=30))
    write_hdf5(folder / "deep" / "c.hdf5", random_events(1), revision="v2")
    write_parquet(folder / "d.parquet", random_events(2), revision="v3_extra")
    (folder / "notes.txt").write_text("x")
    (folder / "deep" / "points.npy").write_bytes(b"x")
    os.symlink(folder, folder / "deep" / "loop")
    return folder


def test_a_mixed_folder_in_one_command(tmp_path: Path):
    folder = folder_of_all_kinds(tmp_path / "in")
    out = tmp_path / "out"
    result = run_convert("--input", folder, "--out", out, "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.splitlines()[0] == (
        f"{folder}: 3 other files passed over (1 .csv, 1 .npy, 1 .txt)"
    )
    sources = json.loads((out / "zarr.json").read_text())["attributes"]["sources"]
    assert {s["name"]: (s["reader"], s["schema"]) for s in sources} == {
        "a.root": ("larcv2", "LArCV2, cluster3d_mcst and particle_mcst"),
        "dlprod_512px_00.root": ("larcv2", "LArCV2, cluster3d_mcst and particle_mcst"),
        "b.h5": ("larcv3", "LArCV3, cluster3d_mcst and particle_mcst"),
        "c.hdf5": ("pilarnet-m", "PILArNet-M v2"),
        "d.parquet": ("pilarnet-m", "PILArNet-M v3_extra"),
    }
    together = {
        (sources[p["source"]]["name"], p["entry"], p["cluster"]): p["energy"].tobytes()
        for p in read_particles(out)
    }
    alone = {}
    for source in sources:
        (path,) = folder.glob(f"**/{source['name']}")
        out = tmp_path / source["name"]
        assert run_convert("--input", path, "--out", out, "--workers", 1).exit_code == 0
        for p in read_particles(out):
            alone[source["name"], p["entry"], p["cluster"]] = p["energy"].tobytes()
    assert together == alone
    assert len({name for name, _, _ in alone}) == 5


@pytest.mark.parametrize(
    ("reader", "says"),
    [
        ("larcv2", "not a ROOT file"),
        ("larcv3", "not a LArCV3 file"),
        ("pilarnet-m", None),
    ],
)
def test_a_reader_that_is_named(tmp_path: Path, reader: str, says: str | None):
    path = write_hdf5(tmp_path / "a.h5", random_events(1))
    arguments = ("--input", path, "--out", tmp_path / "out", "--workers", 1)
    result = run_convert(*arguments, "--reader", reader)
    assert (says or "") in result.stderr
    assert result.exit_code == (1 if says else 0)
    result = run_convert("--input", SAMPLE, *arguments[2:], "--reader", reader, "--overwrite")
    assert result.exit_code == (reader != "larcv2")


def test_links(tmp_path: Path):
    (tmp_path / "real" / "one").mkdir(parents=True)
    shutil.copy(SAMPLE, tmp_path / "real" / "one" / "a.root")
    folder = tmp_path / "in"
    folder.mkdir()
    os.symlink(tmp_path / "real" / "one", folder / "linked")
    os.symlink(tmp_path / "real" / "one", folder / "again")  # the same folder is searched once
    os.symlink(folder, tmp_path / "real" / "one" / "loop")
    arguments = ("--out", tmp_path / "out", "--workers", 1)
    result = run_convert("--input", folder, *arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith("20 events of 1 source")
    os.symlink(tmp_path / "gone", folder / "broken.root")
    result = run_convert("--input", folder, *arguments, "--overwrite")
    assert result.exit_code == 1
    (line,) = result.stderr.splitlines()
    assert (
        f"{folder / 'broken.root'}: a link that leads nowhere (found {tmp_path / 'gone'})" in line
    )
    result = run_convert("--input", folder, *arguments, "--overwrite", "--skip-bad-files")
    assert result.exit_code == 3
    assert "broken.root: a link that leads nowhere" in result.stdout


@pytest.mark.parametrize("kind", ["root", "h5"])
@pytest.mark.parametrize("way", ["copy", "link", "twice", "folder"])
def test_the_same_content_is_refused(tmp_path: Path, kind: str, way: str):
    path = tmp_path / f"a.{kind}"
    if kind == "root":
        shutil.copy(SAMPLE, path)
    else:
        write_hdf5(path, random_events(1))
    other = tmp_path / f"b.{kind}"
    if way == "copy":
        shutil.copy(path, other)
    elif way == "link":
        os.symlink(path, other)
    inputs = {"twice": [path, path], "folder": [tmp_path, path]}.get(way, [path, other])
    out = tmp_path / "out"
    arguments = ("--input", *inputs, "--out", out, "--workers", 1)
    result = run_convert(*arguments)
    assert (result.exit_code, result.stdout) == (1, "")
    (line,) = result.stderr.splitlines()
    second = other if way in ("copy", "link") else path
    assert line == (
        f"error: {second}: the same content is named twice (found also as {path}); name it once, "
        "or take it twice with --allow-duplicates"
    )
    result = run_convert(*arguments, "--allow-duplicates")
    assert result.exit_code == 0
    assert " of 2 sources" in result.stdout.splitlines()[0]
    particles = read_particles(out)
    splits = {(p["source"], p["entry"]): p["split"] for p in particles}
    assert all(splits[0, entry] == split for (_, entry), split in splits.items())


def test_the_same_numbers_in_two_files_are_normal(tmp_path: Path):
    paths = [write_hdf5(tmp_path / f"{n}.h5", random_events(n)) for n in range(2)]
    result = run_convert("--input", *paths, "--out", tmp_path / "out", "--workers", 1)
    assert result.exit_code == 0


def test_renaming_moves_no_event(tmp_path: Path):
    splits: list[Any] = []
    for name in ("a.h5", "b.h5"):
        path = write_hdf5(tmp_path / name, random_events(1, num_events=30))
        out = tmp_path / f"out-{name}"
        assert run_convert("--input", path, "--out", out, "--workers", 1).exit_code == 0
        splits.append({p["entry"]: p["split"] for p in read_particles(out)})
    assert splits[0] == splits[1]
    assert len(set(splits[0].values())) > 1


@pytest.mark.parametrize("named", ["both", "folder"])
def test_two_complete_files_are_two_sources(tmp_path: Path, named: str):
    """A companion in the archive's layout is used only if a product is missing."""
    (tmp_path / "cluster").mkdir()
    image = Path(shutil.copy(SAMPLE, tmp_path / "dlprod_x.root"))
    other = Path(shutil.copy(QUIRKS, tmp_path / "cluster" / "dlprod_cluster_x.root"))
    out = tmp_path / "out"
    inputs = [image, other] if named == "both" else [tmp_path]
    result = run_convert("--input", *inputs, "--out", out, "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    sources = json.loads((out / "zarr.json").read_text())["attributes"]["sources"]
    names = {"dlprod_x.root": 20, "dlprod_cluster_x.root": 24}
    assert {s["name"]: s["entries"] for s in sources} == names
    result = run_convert("--input", image, "--out", out, "--workers", 1, "--overwrite")
    assert result.stdout.startswith("20 events of 1 source")


def test_products_of_the_command(tmp_path: Path):
    path = write_larcv3(tmp_path / "a.h5", larcv3_events(1), names=("a", "b"))
    arguments = ("--input", path, "--out", tmp_path / "out", "--workers", 1)
    result = run_convert(*arguments)
    assert result.exit_code == 1
    assert "several pairs of products (found cluster3d_a,particle_a, cl" in result.stderr
    result = run_convert(*arguments, "--products", "cluster3d_b,particle_a")
    assert result.exit_code == 0
    for wrong in ("particle_a,cluster3d_b", "a", "cluster3d_a"):
        result = run_convert(*arguments, "--overwrite", "--products", wrong)
        assert result.exit_code == 2
        assert "--products: not a pair of products" in result.stderr
    result = run_convert(*arguments, "--overwrite", "--products", "cluster3d_c,particle_a")
    assert "cluster3d_c_group: a product is missing" in result.stderr
    with pytest.raises(PilarnetError, match="dlp reads cluster3d_mcst"):
        ConvertConfig(products="cluster3d_a,particle_a", reader="dlp")
