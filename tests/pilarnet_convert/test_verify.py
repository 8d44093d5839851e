"""Every change to a set of shards is found and named."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from pilarnet_convert import convert, verify
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import attributes_checksum
from pilarnet_convert.shards.reader import open_shards
from tests.pilarnet_convert.outputs import contents, run_stats
from tests.sample import SAMPLE
from tests.writing import rewrite


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("verify") / "shards"
    convert(
        SAMPLE,
        out,
        events_per_shard=5,
        max_events=12,
        splits="train=0.6,val=0.2,test=0.2",
        workers=1,
    )
    return out


@pytest.fixture
def shards(original: Path, tmp_path: Path) -> Path:
    shutil.copytree(original, tmp_path / "shards")
    return tmp_path / "shards"


def flip(path: Path, position: int, bit: int = 0) -> None:
    data = bytearray(path.read_bytes())
    data[position] ^= 1 << bit
    path.write_bytes(data)


def edit(path: Path, change: Callable[[dict[str, Any]], Any]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document, indent=1) + "\n")


def test_nothing_is_wrong(shards: Path):
    assert verify(shards) == []
    result = run_stats(shards, "--verify")
    assert (result.exit_code, result.stderr) == (0, "")
    assert result.stdout.startswith(f"{shards}: every checksum holds\n")


def test_a_flipped_bit_in_every_data_file(shards: Path):
    """One in the middle of each file, all at the same time: there is a line for each."""
    files = sorted((shards / "val" / "00001").rglob("c.*"))
    assert len(files) == 22
    for number, path in enumerate(files):
        flip(path, path.stat().st_size * (number % 5) // 5, number % 8)
    faults = verify(shards)
    for path in files:
        name = path.relative_to(shards / "val" / "00001").parts[0]
        assert [f for f in faults if f.startswith(f"{shards / 'val' / '00001'}: {name}/c.")]
    result = run_stats(shards, "--verify")
    assert result.exit_code == 1
    assert result.stdout.splitlines() == faults
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {shards}: {len(faults)} faults; convert again")


@pytest.mark.parametrize(
    "name", ["zarr.json", "val/zarr.json", "val/00001/zarr.json", "val/00001/energy/zarr.json"]
)
def test_a_flipped_bit_in_every_kind_of_metadata(shards: Path, name: str):
    path = shards / name
    whole = path.read_bytes()
    meaning = json.loads(whole)
    random = np.random.default_rng(len(name))
    for position in random.choice(len(whole), 6, replace=False):
        flip(path, int(position), int(random.integers(8)))
        try:
            same = json.loads(path.read_bytes()) == meaning
        except ValueError:
            same = False
        try:
            faults = verify(shards)
        except PilarnetError as error:
            faults = [str(error)]
        assert faults or same
        assert all(str(shards) in fault and len(fault.splitlines()) == 1 for fault in faults)
        path.write_bytes(whole)
    assert verify(shards) == []


def test_missing_and_extra_shards(shards: Path):
    shutil.copytree(shards / "val" / "00001", shards / "val" / "00007")
    shutil.rmtree(shards / "train" / "00001")
    faults = verify(shards)
    assert any("val/00007: the root does not list it" in fault for fault in faults)
    assert any(str(shards / "train" / "00001") in fault for fault in faults)


def _copy(path: Path) -> None:
    shutil.copytree(path.with_name("train"), path)


def _link(path: Path) -> None:
    path.symlink_to(path.with_name("00000"))


def _write(path: Path) -> None:
    path.write_bytes(b"0123")


@pytest.mark.parametrize(
    ("name", "add", "says"),
    [
        ("c.0", _write, "c.0: it does not belong to the set"),
        ("holdout", _copy, "holdout: it does not belong to the set"),
        ("train/c.0", _write, "train/c.0: the root does not list it"),
        ("train/00998", _link, "train/00998: the root does not list it"),
        ("train/00999", Path.mkdir, "train/00999: the root does not list it"),
        ("val/00001/more", Path.mkdir, "val/00001/more: the root does not list it"),
        ("val/00001/x/c.1", _write, "val/00001/x/c.1: the root does not list it"),
    ],
)
def test_what_is_added(shards: Path, name: str, add: Callable[[Path], Any], says: str):
    add(shards / name)
    assert verify(shards) == [f"{shards}: {says}"]


def test_what_users_put_beside_the_splits(shards: Path):
    (shards / "classes.png").write_bytes(b"0123")
    (shards / "notes" / "more").mkdir(parents=True)
    (shards / ".DS_Store").write_bytes(b"0123")
    assert verify(shards) == []


def test_more_in_the_root_than_was_written(shards: Path):
    edit(shards / "zarr.json", lambda document: document.update(more=1))
    assert verify(shards) == [f"{shards}: zarr.json: more than the attributes that were written"]


def test_every_set_is_verified(shards: Path, original: Path, tmp_path: Path):
    other = tmp_path / "other"
    shutil.copytree(shards, other)
    for path in (shards, other):
        flip(path / "train" / "00000" / "x" / "c.0", 100)
    result = run_stats(shards, original, other, "--verify")
    assert result.exit_code == 1
    first, second, third = result.stdout.splitlines()
    assert first.startswith(f"{shards / 'train' / '00000'}: x/c.0: expected")
    assert second == f"{original}: every checksum holds"
    assert third.startswith(f"{other / 'train' / '00000'}: x/c.0: expected")
    (line,) = result.stderr.splitlines()
    assert line.startswith(f"error: {shards}, {other}: 2 faults; convert again")


@pytest.mark.parametrize("gone", ["x", "offset", "momentum/zarr.json", "label/c.0", "zarr.json"])
def test_missing_parts(shards: Path, gone: str):
    path = shards / "test" / "00000" / gone
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    faults = verify(shards)
    assert any(str(shards / "test" / "00000") in fault for fault in faults)
    assert run_stats(shards, "--verify").exit_code == 1


def test_truncated_data(shards: Path):
    path = shards / "train" / "00000" / "energy" / "c.0"
    path.write_bytes(path.read_bytes()[:-7])
    (fault,) = verify(shards)
    assert fault.startswith(f"{shards / 'train' / '00000'}: energy/c.0: expected")


@pytest.mark.parametrize("name", ["zarr.json", "train/00000/zarr.json"])
def test_wrong_attributes(shards: Path, name: str):
    def change(document: dict[str, Any]) -> None:
        attributes = document["attributes"]
        key = "num_particles" if "num_particles" in attributes else "geometry"
        attributes[key] = attributes[key][:0] if key == "geometry" else attributes[key] + 1

    edit(shards / name, change)
    (fault, *_) = verify(shards)
    assert "checksum" in fault
    assert str(shards) in fault


@pytest.mark.parametrize("change", [{"zarr_format": 2}, {"node_type": "array"}])
def test_a_root_that_is_no_group_of_zarr(shards: Path, change: dict[str, Any]):
    edit(shards / "zarr.json", lambda document: document.update(change))
    for read in (open_shards, verify):
        with pytest.raises(PilarnetError, match="not the metadata of a Zarr group"):
            read(shards)


def test_files_exchanged_added_and_of_other_shards(shards: Path):
    """Files that a Zarr reader would read as the data, but that were not written there."""
    shard = shards / "train" / "00000"
    first, second = shard / "energy_init" / "c.0", shard / "energy_deposit" / "c.0"
    whole = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(whole)
    (shard / "pdg" / "c.1").write_bytes(b"more")
    (shard / "x" / "c.0").write_bytes((shards / "train" / "00001" / "x" / "c.0").read_bytes())
    (shard / "y" / "c.0").unlink()
    faults = "\n".join(verify(shards))
    for name in ("energy_init/c.0: expected", "energy_deposit/c.0: expected", "x/c.0: expected"):
        assert f"{shard}: {name}" in faults
    assert f"{shard}: y/c.0: missing" in faults
    assert f"{shards}: train/00000/pdg/c.1: the root does not list it" in faults
    for name in ("energy_init", "energy_deposit", "x", "y"):
        with pytest.raises(PilarnetError, match=f"{name}: missing or damaged"):
            open_shards(shards).splits["train"][0].read([name])


@pytest.mark.parametrize(
    ("name", "change", "says"),
    [
        ("label", lambda v: (v + 1) % 5, "label: PDG code"),
        ("x", lambda v: v + 500, "x: expected indices below 192"),
        ("energy", lambda v: v * np.nan, "energy: not all finite"),
        ("offset", lambda v: v[::-1].copy(), "offset: the offsets do not describe the voxels"),
        ("source", lambda v: v + 1, "source: expected indices below 1"),
        ("process", lambda v: v + 200, "process: expected indices below"),
        ("pdg", lambda v: v * 0 + 2212, "label: PDG code 2212 has the label"),
    ],
)
def test_wrong_values_under_right_checksums(
    shards: Path, name: str, change: Callable[[Any], Any], says: str
):
    def apply(arrays: dict[str, Any]) -> None:
        arrays[name] = change(arrays[name])

    rewrite(shards, apply)
    faults = verify(shards)
    assert any(f"{shards / 'train' / '00000'}: {says}" in fault for fault in faults)


def test_names_of_shards_never_lead_out_of_the_set(shards: Path):
    """Not even with a correct checksum: nothing outside the set is read or removed."""
    outside = Path(shutil.copytree(shards, shards.parent / "outside"))
    before = contents(outside)
    for name in (
        "../outside/train/00000",
        "train/../../outside/train/00000",
        "/etc",
        "train",
        "x/00000",
    ):

        def change(document: dict[str, Any], name: str = name) -> None:
            document["attributes"]["shards"][0]["name"] = name
            document["attributes"]["checksum"] = attributes_checksum(document["attributes"])

        edit(shards / "zarr.json", change)
        for read in (open_shards, verify):
            with pytest.raises(PilarnetError, match="no name of a shard"):
                read(shards)
        convert(SAMPLE, shards, max_events=2, splits="train=1", workers=1, overwrite=True)
        assert contents(outside) == before


def test_wrong_metadata_of_an_array(shards: Path):
    file = shards / "train" / "00000" / "pdg" / "zarr.json"
    edit(file, lambda document: document["shape"].append(2))
    (fault,) = verify(shards)
    assert "pdg: metadata shape: expected" in fault
