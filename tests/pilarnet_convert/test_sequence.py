"""Particles by index, iteration, Awkward Array and pandas, against zarr-python alone."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import awkward as ak
import dask.array
import numpy as np
import pytest
import zarr

from pilarnet_convert import convert, open_shards, statistics, verify
from pilarnet_convert.errors import ShardError
from pilarnet_convert.shards.format import ARRAYS, SPLITS, VOXEL_ARRAYS
from pilarnet_convert.shards.particle import Particle
from pilarnet_convert.shards.reader import Shards
from pilarnet_convert.species import CLASS_NAMES
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.outputs import read_particles
from tests.sample import SAMPLE
from tests.writing import write_set

VECTORS = ("momentum", "start", "end", "origin")
SCALARS = tuple(n for n in ARRAYS if n not in (*VOXEL_ARRAYS, *VECTORS, "offset", "process"))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Shards:
    """Two files, cut into several shards per split."""
    out = tmp_path_factory.mktemp("sequence") / "shards"
    return convert([SAMPLE, QUIRKS], out, events_per_shard=8, workers=1)


@pytest.fixture(scope="module")
def expected(shards: Shards) -> list[dict[str, Any]]:
    return sorted(read_particles(shards.path), key=lambda row: SPLITS.index(row["split"]))


def _equal(particle: Particle, row: dict[str, Any]) -> bool:
    return (
        particle.split == row["split"]
        and np.array_equal(particle.xyz, np.stack([row[axis] for axis in "xyz"], axis=1))
        and np.array_equal(particle.energy, row["energy"])
        and particle["process"] == row["process"]
        and all(particle[name] == row[name] for name in SCALARS)
        and all(np.array_equal(particle[n], row[n], equal_nan=True) for n in VECTORS)
    )


def test_every_particle_by_iteration_and_by_index(shards: Shards, expected: list[dict[str, Any]]):
    assert len(shards) == len(expected)
    assert all(map(_equal, shards, expected))
    assert all(_equal(shards[i], row) for i, row in enumerate(expected))
    assert all(_equal(shards[i - len(expected)], row) for i, row in enumerate(expected))
    assert [p.index for p in shards[5:9:2]] == [5, 7]
    for beyond in (len(shards), -len(shards) - 1):
        with pytest.raises(IndexError, match=f"no particle {beyond} of"):
            shards[beyond]
    with pytest.raises(TypeError, match="indexed by integers and slices, not by list"):
        shards[[1, 2]]


def test_particles_of_a_split_and_of_a_shard(shards: Shards, expected: list[dict[str, Any]]):
    assert len(shards.splits["train"]) > 2
    for split in SPLITS:
        rows = [row for row in expected if row["split"] == split]
        assert len(shards[split]) == len(rows)
        assert all(map(_equal, shards[split], rows))
        assert [particle.index for particle in shards[split]] == list(range(len(rows)))
    shard = shards.splits["train"][1]
    assert len(shard) == shard.num_particles
    assert [p.index for p in shard] == list(range(shard.first, shard.first + len(shard)))
    with pytest.raises(ShardError, match=r"no such split \(expected train, val, test, found all\)"):
        shards["all"]


def test_what_a_particle_says(shards: Shards, expected: list[dict[str, Any]]):
    particle, row = shards[3], expected[3]
    assert len(particle) == len(row["energy"])
    assert (particle.label, particle.species) == (row["label"], CLASS_NAMES[row["label"]])
    assert repr(particle) == (
        f"<Particle train 3: {particle.species}, {len(row['energy'])} voxels, "
        f"{row['energy'].sum(dtype=float):,.1f} MeV>"
    )
    with pytest.raises(KeyError, match="no column 'mass'; there are label, pdg, "):
        particle["mass"]


@pytest.mark.parametrize("size", [1, 7, 10_000])
def test_blocks_join_to_the_whole(shards: Shards, expected: list[dict[str, Any]], size: int):
    blocks = list(shards.blocks(["energy", "offset", "pdg"], size=size))
    assert max(len(block["pdg"]) for block in blocks) <= size
    assert np.concatenate([b["pdg"] for b in blocks]).tolist() == [r["pdg"] for r in expected]
    energy = np.concatenate([row["energy"] for row in expected])
    assert np.array_equal(np.concatenate([b["energy"] for b in blocks]), energy)
    counts = np.concatenate([np.diff(b["offset"]) for b in blocks])
    assert counts.tolist() == [len(row["energy"]) for row in expected]


def test_awkward_array(shards: Shards, expected: list[dict[str, Any]]):
    array = shards.to_awkward()
    assert array.fields == [name for name in ARRAYS if name != "offset"]
    assert len(array) == len(expected)
    for found, row in zip(array, expected, strict=True):
        for name in VOXEL_ARRAYS:
            assert np.array_equal(ak.to_numpy(found[name]), row[name])
            assert ak.to_numpy(found[name]).dtype == row[name].dtype
        assert found["process"] == row["process"]
        assert all(found[name] == row[name] for name in SCALARS)
        assert all(np.array_equal(found[n].to_numpy(), row[n], equal_nan=True) for n in VECTORS)


def test_pandas_table(shards: Shards, expected: list[dict[str, Any]]):
    table = shards.to_pandas()
    assert len(table) == len(expected)
    assert list(table["num_voxels"]) == [len(row["energy"]) for row in expected]
    for name in ("split", "process", *SCALARS):
        assert list(table[name]) == [row[name] for row in expected]
    assert list(table["species"]) == [CLASS_NAMES[row["label"]] for row in expected]
    for name in VECTORS:
        columns = table[[f"{name}_{axis}" for axis in "xyz"]].to_numpy()
        assert np.array_equal(columns, np.stack([row[name] for row in expected]), equal_nan=True)
    counts = table.groupby(["species", "split"], observed=True).size()
    found = statistics(shards).classes.set_index(["class", "split"])["count"]
    assert all(found[key] == count for key, count in counts.items())


def test_a_split_without_particles(tmp_path: Path):
    voxel = np.zeros(2, np.uint16)
    arrays = {"x": voxel, "y": voxel, "z": voxel, "energy": np.ones(2, np.float32)}
    arrays |= {"offset": np.array([0, 2]), "label": np.zeros(1, np.int8)}
    shards = open_shards(write_set(tmp_path / "shards", {"train/00000": arrays}))
    empty = shards["test"]
    assert (len(empty), list(empty), list(empty.blocks())) == (0, [], [])
    assert empty.to_awkward().type.content == shards.to_awkward().type.content
    assert list(empty.to_pandas().columns) == list(shards.to_pandas().columns)
    assert len(empty.to_pandas()) == 0


def test_the_classes_in_a_notebook(shards: Shards):
    page = shards._repr_html_()
    assert "&lt;Shards" in page
    for count in (len(shards), len(shards["test"])):
        assert f"<td>{count}</td>" in page


@pytest.mark.parametrize(("start", "stop"), [(-5, None), (2, -1), (5, 2), (3, 900), (900, 950)])
def test_rows_of_a_shard_count_as_in_a_slice(shards: Shards, start: int, stop: int | None):
    shard = shards.splits["train"][0]
    found, rows = shard.read(["energy", "offset", "pdg"], start, stop), list(shard)[start:stop]
    assert found["pdg"].tolist() == [particle["pdg"] for particle in rows]
    assert np.diff(found["offset"]).tolist() == [len(particle) for particle in rows]
    assert np.array_equal(found["energy"], [e for particle in rows for e in particle.energy])


def test_arrays_and_sizes_that_do_not_exist(shards: Shards):
    shard = shards.splits["val"][0]
    assert np.array_equal(shard.read("pdg")["pdg"], shard.read(["pdg"])["pdg"])
    with pytest.raises(ShardError, match=r"no such array \(expected x, y, .*, found mass\)"):
        next(shards.blocks(["mass"]))
    with pytest.raises(ValueError, match="size: expected 1 or more, found 0"):
        next(shards.blocks(size=0))
    with pytest.raises(ShardError, match="no such split"):
        shards.num_particles("all")


def test_verify_and_statistics_take_the_same_things(shards: Shards, tmp_path: Path):
    assert verify(shards) == verify(shards.path) == verify(str(shards.path)) == []
    assert statistics(shards).to_json() == statistics(shards.path).to_json()
    other = convert(SAMPLE, tmp_path / "other", workers=1)
    (other.splits["train"][0].path / "added").touch()
    both = [str(shards.path), other.path]
    assert verify(both) == verify(open_shards(both)) == verify(other)
    assert "train/00000/added: the root does not list it" in verify(both)[0]
    assert statistics(both).to_json() == statistics(open_shards(both)).to_json()
    for wrong in (5, [], [5], shards["test"]):
        for function in (verify, statistics, open_shards):
            with pytest.raises(ShardError, match="not the path of a set of shards"):
                function(wrong)  # type: ignore[operator]


def test_dask_opens_every_array(shards: Shards):
    shard = shards.splits["train"][0]
    for name, values in shard.read().items():
        lazy = dask.array.from_zarr(str(shard.path / name))
        assert lazy.dtype == values.dtype
        assert np.array_equal(lazy.compute(), values, equal_nan=values.dtype.kind == "f")


def test_awkward_makes_lists_of_a_shard(shards: Shards, expected: list[dict[str, Any]]):
    """With zarr-python only, as it is possible without this package."""
    group = zarr.open_group(shards.splits["train"][0].path, mode="r")
    lists = ak.unflatten(ak.from_numpy(group["energy"][:]), np.diff(group["offset"][:]))
    for found, row in zip(lists, expected, strict=False):
        assert np.array_equal(found.to_numpy(), row["energy"])
