"""LArCV2 files of other productions: other names of the products, and unknown numbers."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import uproot
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.larcv2 import index_larcv2
from pilarnet_convert.readers.larcv_numbers import known_reals, known_tracks
from pilarnet_convert.readers.products import Products, choose_products, parse_products
from pilarnet_convert.shards.reader import open_shards
from tests import damage
from tests.pilarnet_convert.outputs import contents, read_particles, run_convert
from tests.sample import SAMPLE


def renamed(target: Path, *, clusters: str, particles: str) -> Path:
    """Copy the sample with other names of its products, which have the same length."""
    data = SAMPLE.read_bytes()
    for old, new in (("cluster3d_mcst", clusters), ("particle_mcst", particles)):
        assert len(old) == len(new)
        data = data.replace(f"{old}_tree".encode(), f"{new}_tree".encode())
    target.write_bytes(data)
    return target


def test_the_only_pair_is_read(tmp_path: Path):
    path = renamed(tmp_path / SAMPLE.name, clusters="cluster3d_seed", particles="particle_seed")
    source = index_larcv2("a", [path])
    assert source.schema == "LArCV2, cluster3d_seed and particle_seed"
    for name, file in (("ours", path), ("theirs", SAMPLE)):
        arguments = ("--input", file, "--out", tmp_path / name, "--workers", 1)
        assert run_convert(*arguments).exit_code == 0
    ours, theirs = contents(tmp_path / "ours"), contents(tmp_path / "theirs")
    ours.pop("zarr.json")
    theirs.pop("zarr.json")
    assert ours == theirs


def test_products_of_two_names(tmp_path: Path):
    path = renamed(tmp_path / "a.root", clusters="cluster3d_seed", particles="particle_corr")
    with pytest.raises(InputError, match="a product is missing"):
        index_larcv2("a", [path])
    source = index_larcv2("a", [path], products=Products("cluster3d_seed", "particle_corr"))
    assert source.num_entries == 20
    out = tmp_path / "out"
    named = ("--products", "cluster3d_seed,particle_corr")
    result = run_convert("--input", path, "--out", out, "--workers", 1, *named)
    assert (result.exit_code, result.stderr) == (0, "")


def test_a_file_that_was_written_under_a_long_path(tmp_path: Path):
    """Its header, which has the path twice, takes more than the usual first bytes."""
    path = tmp_path / f"{'a' * 250}.root"
    with uproot.recreate(path) as file:
        file.mktree("tree", {"number": "i4"})
    with pytest.raises(InputError, match="a product is missing"):
        index_larcv2("a", [path])


names = st.lists(st.sampled_from(["mcst", "pcluster", "sed", "corrected"]), unique=True)


@given(names, names, st.lists(st.sampled_from(["sparse3d_data", "image2d_wire"]), unique=True))
def test_which_pair_is_chosen(clusters: list[str], particles: list[str], others: list[str]):
    there = [f"cluster3d_{n}" for n in clusters] + [f"particle_{n}" for n in particles] + others
    both = [name for name in clusters if name in particles]
    wanted = next((name for name in ("mcst", "pcluster") if name in both), None)
    if wanted is None and len(both) == 1:
        wanted = both[0]
    if wanted is None and both:
        with pytest.raises(InputError) as error:
            choose_products(there, wanted=None, file=Path("a"))
        assert all(f"cluster3d_{name},particle_{name}" in str(error.value) for name in both)
        return
    found = choose_products(there, wanted=None, file=Path("a"))
    assert found == (wanted and (f"cluster3d_{wanted}", f"particle_{wanted}"))


def test_products_are_parsed():
    assert parse_products("cluster3d_a, particle_b_c") == ("cluster3d_a", "particle_b_c")
    assert parse_products("cluster3d_a-1,particle_a-1") == ("cluster3d_a-1", "particle_a-1")
    for wrong in ("", "cluster3d_a", "particle_a,cluster3d_a", "cluster3d_a,particle_a,b"):
        assert parse_products(wrong) is None


def test_numbers_that_are_not_known(tmp_path: Path):
    """A number that was never set is -1 or NaN in a shard."""
    path = SAMPLE
    for number, (field, code, value) in enumerate(
        [
            ("_parent_trackid", "I", 2**32 - 1),
            ("_energy_deposit", "d", np.finfo(np.float64).max),
            ("_px", "d", np.finfo(np.float64).max),
        ]
    ):
        target = tmp_path / f"{number}.root"
        path = damage.with_field(
            path, target, entry=0, particle=0, field=field, code=code, value=value
        )
    out = tmp_path / "out"
    arguments = ("--input", path, "--out", out, "--workers", 1, "--min-voxels", 1)
    result = run_convert(*arguments)
    assert (result.exit_code, result.stderr) == (0, "")
    particles = read_particles(out)
    (changed,) = [p for p in particles if (p["entry"], p["cluster"]) == (0, 0)]
    assert changed["parent_track_id"] == -1
    assert np.isnan(changed["energy_deposit"])
    assert np.isnan(changed["momentum"]).tolist() == [True, False, False]
    assert sum(np.isnan(p["energy_deposit"]) for p in particles) == 1
    assert sum(p["parent_track_id"] == -1 for p in particles) == 1


def test_events_that_were_never_set(tmp_path: Path):
    """An event in which nothing was stored has no cube; all others are as without it."""
    path, entries = SAMPLE, (0, 3)
    for entry in entries:
        path = damage.with_unset_event(path, tmp_path / f"{entry}.root", entry=entry)
    for name, file in (("ours", path), ("theirs", SAMPLE)):
        result = run_convert("--input", file, "--out", tmp_path / name, "--workers", 1)
        assert (result.exit_code, result.stderr) == (0, "")
    ours, theirs = (read_particles(tmp_path / name) for name in ("ours", "theirs"))
    theirs = [particle for particle in theirs if particle["entry"] not in entries]
    assert len(ours) == len(theirs) > 0
    for one, two in zip(ours, theirs, strict=True):
        assert all(np.array_equal(one[name], two[name]) for name in one)
    cubes = [open_shards(tmp_path / name).attributes["geometry"] for name in ("ours", "theirs")]
    assert cubes[0] == cubes[1]


@given(st.lists(st.floats(width=64)), st.sampled_from([np.float32, np.float64]))
def test_reals(values: list[float], dtype: type[np.floating]):
    with np.errstate(over="ignore"):
        given_values = np.array(values, np.float64).astype(dtype)
    found = known_reals(given_values)
    assert found.dtype == np.float32
    for before, after in zip(given_values.tolist(), found.tolist(), strict=True):
        unset = abs(before) >= float(np.finfo(np.float32).max) and np.isfinite(before)
        assert np.isnan(after) == (np.isnan(before) or unset)
        if not np.isnan(after):
            with np.errstate(over="ignore"):
                assert after == np.float32(before)


@pytest.mark.parametrize("dtype", [np.uint16, np.int32, np.uint32, np.int64, np.uint64])
def test_tracks(dtype: type[np.integer]):
    largest = np.iinfo(dtype).max
    found = known_tracks(np.array([0, 1, largest - 1, largest], dtype))
    assert found[:2].tolist() == [0, 1]
    assert found[3] == (largest if dtype in (np.uint16, np.int64) else -1)
    assert found[2] != -1
