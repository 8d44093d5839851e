"""Shards agree with the format: read with zarr-python, and byte by byte."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorstore
import xarray
import zarr
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards import array as encode
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.outputs import contents, shard_groups
from tests.sample import SAMPLE
from tests.writing import check_of, write_array

#: Copied from the description of the format, version 2.
VOXELS = {"x": "uint16", "y": "uint16", "z": "uint16", "energy": "float32"}
PARTICLES = {
    "offset": ("int64", ()),
    "label": ("int8", ()),
    "pdg": ("int32", ()),
    "process": ("uint16", ()),
    "energy_init": ("float32", ()),
    "energy_deposit": ("float32", ()),
    "momentum": ("float32", (3,)),
    "start": ("float32", (3,)),
    "end": ("float32", (3,)),
    "track_id": ("int64", ()),
    "parent_track_id": ("int64", ()),
    "run": ("int64", ()),
    "subrun": ("int64", ()),
    "event": ("int64", ()),
    "source": ("int32", ()),
    "entry": ("int32", ()),
    "cluster": ("int32", ()),
}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("format") / "shards"
    convert([SAMPLE, QUIRKS], out, events_per_shard=25, workers=1)
    return out


def test_root(shards: Path):
    root = zarr.open_group(shards, mode="r", zarr_format=3)
    attributes: dict[str, Any] = dict(root.attrs)
    assert (attributes["format"], attributes["version"]) == ("pilarnet-particles", 2)
    assert [(c["label"], c["name"]) for c in attributes["classes"]] == list(
        enumerate(["electron", "proton", "gamma", "muon", "pion"])
    )
    assert [(s["name"], s["size"], s["entries"]) for s in attributes["sources"]] == [
        (path.name, path.stat().st_size, n) for path, n in ((SAMPLE, 20), (QUIRKS, 24))
    ]
    # The UUID that ROOT wrote at the end of the first directory record.
    assert attributes["sources"][0]["uuid"].replace("-", "") in SAMPLE.read_bytes().hex()
    assert attributes["geometry"] == [{"voxels": [192] * 3, "voxel_size_cm": [0.3] * 3}]
    assert attributes["options"]["events_per_shard"] == 25
    assert attributes["options"]["min_voxels"] == 10
    assert attributes["statistics"]["events"] == 44
    names = [entry["name"] for entry in attributes["shards"]]
    assert names == [f"{s}/{n:05d}" for s in ("train", "val", "test") for n in (0, 1)]
    for entry, group in zip(attributes["shards"], shard_groups(shards), strict=True):
        assert entry["particles"] == group["label"].shape[0] == sum(entry["counts"].values())
        assert entry["voxels"] == group["energy"].shape[0]
        for array, check in entry["files"].items():
            folder = shards / entry["name"]
            (file,) = folder.glob(f"{array}/c.*") if array != "zarr.json" else [folder / array]
            assert tuple(check) == check_of(file)
    assert sorted(root.group_keys()) == ["test", "train", "val"]
    assert sorted(root["train"].group_keys()) == ["00000", "00001"]


def test_arrays(shards: Path):
    for group in shard_groups(shards):
        arrays = dict(group.arrays())
        assert arrays.keys() >= {*VOXELS, *PARTICLES}
        num_particles, num_voxels = group.attrs["num_particles"], group.attrs["num_voxels"]
        for name, dtype in VOXELS.items():
            assert (arrays[name].dtype, arrays[name].shape) == (np.dtype(dtype), (num_voxels,))
        for name, (dtype, tail) in PARTICLES.items():
            rows = num_particles + (name == "offset")
            assert (arrays[name].dtype, arrays[name].shape) == (np.dtype(dtype), (rows, *tail))
        offset, label = arrays["offset"][...], arrays["label"][...]
        assert (offset[0], offset[-1]) == (0, num_voxels)
        assert np.diff(offset).min() >= 10
        names = ["electron", "proton", "gamma", "muon", "pion"]
        assert group.attrs["counts"] == {n: int((label == i).sum()) for i, n in enumerate(names)}
        process = arrays["process"][...]
        first = list(dict.fromkeys(process.tolist()))
        assert first == list(range(len(group.attrs["process_names"])))
        assert (arrays["x"].attrs["unit"], arrays["energy"].attrs["unit"]) == ("voxel", "MeV")


def test_an_array_is_one_sharded_file(shards: Path):
    for metadata in shards.glob("*/*/*/zarr.json"):
        assert len([p for p in metadata.parent.rglob("*") if p.is_file()]) == 2
        document = json.loads(metadata.read_text())
        (codec,) = document["codecs"]
        assert codec["name"] == "sharding_indexed"
        inner = codec["configuration"]
        assert [c["name"] for c in inner["codecs"]] == ["bytes", "blosc", "crc32c"]
        assert [c["name"] for c in inner["index_codecs"]] == ["bytes", "crc32c"]
        blosc = inner["codecs"][1]["configuration"]
        assert (blosc["cname"], blosc["shuffle"]) == ("zstd", "bitshuffle")
        assert inner["chunk_shape"][0] == min(document["shape"][0], 65536)


def test_xarray_opens_a_shard(shards: Path):
    for split in open_shards(shards).splits.values():
        for shard in split:
            dataset = xarray.open_zarr(shard.path, consolidated=True)
            arrays = shard.read()
            assert set(dataset.data_vars) == set(arrays)
            assert dict(dataset.sizes) == {
                "voxel": shard.num_voxels,
                "particle": shard.num_particles,
                "boundary": shard.num_particles + 1,
                "axis": 3,
            }
            for name, values in arrays.items():
                assert np.array_equal(dataset[name].to_numpy(), values, equal_nan=True)


def test_tensorstore_reads_every_array(shards: Path):
    for split in open_shards(shards).splits.values():
        for shard in split:
            for name, values in shard.read().items():
                store = {"driver": "file", "path": str(shard.path / name)}
                array = tensorstore.open({"driver": "zarr3", "kvstore": store}).result()
                assert np.array_equal(array.read().result(), values, equal_nan=True)


def test_voxels_are_in_the_order_of_their_ids(shards: Path):
    for group in shard_groups(shards):
        x, y, z = (group[name][...].astype(np.int64) for name in "xyz")
        ids = (z * 192 + y) * 192 + x
        rising = np.diff(ids) > 0
        rising[group["offset"][1:-1] - 1] = True
        assert rising.all()


def test_blocks_are_parts_of_the_whole(shards: Path):
    for group, shard in zip(
        shard_groups(shards),
        [s for split in open_shards(shards).splits.values() for s in split],
        strict=True,
    ):
        offset = group["offset"][...]
        total = shard.num_particles
        assert total == len(offset) - 1
        for start, stop in [(0, total), (1, 2), (0, 0), (total // 2, total + 7), (total, total)]:
            block = shard.read(start=start, stop=stop)
            first, last = offset[start], offset[min(stop, total)]
            for name, values in block.items():
                if name == "offset":
                    expected = offset[start : stop + 1] - first
                else:
                    rows = slice(first, last) if name in VOXELS else slice(start, stop)
                    expected = group[name][rows]
                assert values.dtype == expected.dtype
                assert np.array_equal(values, expected)


dtypes = st.sampled_from(
    ["uint8", "int8", "uint16", "int32", "uint32", "int64", "uint64", "float32", "float64"]
)


@settings(max_examples=30, deadline=None)
@given(st.data(), dtypes, st.integers(1, 40), st.sampled_from([(), (1,), (3,), (2, 2)]))
def test_zarr_reads_what_is_encoded(
    tmp_path_factory: pytest.TempPathFactory,
    data: st.DataObject,
    dtype: str,
    rows: int,
    tail: tuple[int, ...],
):
    """Any dtype, any shape, sizes on both sides of every chunk border; any byte order."""
    values = data.draw(
        hnp.arrays(data.draw(st.sampled_from("<>")) + np.dtype(dtype).str[1:], (rows, *tail))
    )
    path = tmp_path_factory.mktemp("array")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(encode, "CHUNK_ROWS", 8)
        write_array(path / "a", values, attributes={"unit": "MeV"})
    array = zarr.open_array(path / "a", mode="r", zarr_format=3)
    assert array.dtype == np.dtype(dtype)
    assert array.attrs["unit"] == "MeV"
    read = array[...]
    assert read.tobytes() == values.astype(dtype).tobytes()  # type: ignore[union-attr]
    start, stop = sorted([data.draw(st.integers(0, rows)), data.draw(st.integers(0, rows))])
    part = array[start:stop]
    assert part.tobytes() == values[start:stop].astype(dtype).tobytes()  # type: ignore[union-attr]


@pytest.mark.parametrize("rows", [1, 65535, 65536, 65537, 131072, 131073])
def test_sizes_around_the_real_chunk(tmp_path: Path, rows: int):
    values = np.random.default_rng(rows).integers(0, 512, rows).astype(np.uint16)
    write_array(tmp_path / "a", values, attributes={})
    array = zarr.open_array(tmp_path / "a", mode="r")
    assert array.chunks == (min(rows, 65536),)
    assert np.array_equal(array[...], values)  # type: ignore[arg-type]


def test_the_bytes_depend_on_the_values_alone(tmp_path: Path):
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    for name in "ab":
        write_array(tmp_path / name, values, attributes={})
    assert contents(tmp_path / "a") == contents(tmp_path / "b")
    big_endian = values.astype(">f4")
    write_array(tmp_path / "c", big_endian, attributes={})
    assert contents(tmp_path / "c") == contents(tmp_path / "a")


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("format", "other-particles", "format other-particles version 2"),
        ("version", 1, "of another version.*version 2, found .*version 1.*convert the input again"),
        ("shards", ["train/00000", "train/00009"], "missing or damaged"),
    ],
)
def test_what_is_not_opened(tmp_path: Path, shards: Path, key: str, value: Any, says: str):
    copy = tmp_path / "shards"
    shutil.copytree(shards, copy)
    document = json.loads((copy / "zarr.json").read_text())
    document["attributes"][key] = value
    (copy / "zarr.json").write_text(json.dumps(document))
    with pytest.raises(ShardError, match=says) as error:
        open_shards(copy)
    assert str(copy) in str(error.value)
    assert len(str(error.value).splitlines()) == 1


def test_no_shards(tmp_path: Path):
    for path, says in [(tmp_path / "none", "no such folder"), (tmp_path, "holds no shards")]:
        with pytest.raises(ShardError, match=says) as error:
            open_shards(path)
        assert "pilarnet-convert --input" in str(error.value)
    (tmp_path / "zarr.json").write_text("{")
    with pytest.raises(ShardError, match=r"missing or damaged"):
        open_shards(tmp_path)
