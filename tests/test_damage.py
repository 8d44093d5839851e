"""The altered files hold what they should, as read by uproot."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
import uproot

from tests import damage
from tests.rootedit import RootFile, entries_of, keys_record
from tests.sample import SAMPLE
from tests.voxelcodec import Voxels, decode

VOXELS = "_voxel_vv._voxel_v"


def contents(path: Path) -> dict[tuple[str, str], list[bytes]]:
    """Return the serialised entries of every branch of the two products that are read."""
    with uproot.open(path) as file:
        return {
            (name, branch.name): entries_of(branch)
            for name in (damage.CLUSTERS, damage.PARTICLES)
            for branch in file[name].itervalues(recursive=True)
            if branch.num_baskets
        }


@pytest.fixture(scope="module")
def good() -> dict[tuple[str, str], list[bytes]]:
    return contents(SAMPLE)


def clusters_of(path: Path, entry: int) -> list[Voxels]:
    """Return the voxels of the clusters of one event."""
    with uproot.open(path) as file:
        return decode(entries_of(file[damage.CLUSTERS][VOXELS])[entry])


def changed(path: Path, good: dict[tuple[str, str], list[bytes]]) -> dict[str, list[int]]:
    """Return which entries of which branches differ from the good file."""
    now = contents(path)
    assert now.keys() == good.keys()
    return {
        name: [i for i, (a, b) in enumerate(zip(good[key], now[key], strict=True)) if a != b]
        for key in good
        for name in [key[1]]
        if good[key] != now[key]
    }


def test_rewriting_moves_all_baskets_and_changes_nothing(tmp_path, good):
    file = RootFile(SAMPLE)
    trees = {tree for tree, _ in good}
    for tree in trees:
        names = [branch for t, branch in good if t == tree]
        file.rewrite(tree, {name: lambda entries: entries for name in names})
    path = file.save(tmp_path / "a.root")
    assert contents(path) == good
    with uproot.open(path) as new, uproot.open(SAMPLE) as old:
        for tree, name in good:
            before, after = old[tree][name], new[tree][name]
            assert list(after.entry_offsets) == list(before.entry_offsets)
            seeks = after.member("fBasketSeek")[: after.num_baskets]
            assert min(seeks) >= SAMPLE.stat().st_size


@pytest.mark.parametrize("count", [0, 7])
def test_fewer_entries(tmp_path, good, count):
    path = damage.with_entries(SAMPLE, tmp_path / "a.root", count=count, trees=[damage.CLUSTERS])
    with uproot.open(path) as file:
        tree = file[damage.CLUSTERS]
        assert tree.num_entries == count
        assert {b.num_entries for b in tree.itervalues(recursive=True)} == {count}
        assert file[damage.PARTICLES].num_entries == 20
        assert tree["_event"].array(library="np").tolist() == list(range(count))
    for (tree_name, name), entries in contents(path).items():
        kept = count if tree_name == damage.CLUSTERS else 20
        assert entries == good[tree_name, name][:kept]


def test_object_wise_reads_the_same_by_uproot_itself(tmp_path, good):
    path = damage.object_wise(SAMPLE, tmp_path / "a.root")
    with uproot.open(path) as file:
        entries = file[damage.CLUSTERS][VOXELS].array(library="np", entry_start=15)
    assert len(entries) == 5
    for raw, entry in zip(good[damage.CLUSTERS, VOXELS][15:], entries, strict=True):
        expected = decode(raw)
        assert len(entry) == len(expected)
        for (ids, values), voxels in zip(expected, entry, strict=True):
            assert [v.member("_id") for v in voxels] == ids.tolist()
            assert [v.member("_value") for v in voxels] == values.tolist()


def test_ids(tmp_path, good):
    path = damage.with_id(
        SAMPLE, tmp_path / "a.root", tree=damage.PARTICLES, entry=3, field="event", value=99
    )
    assert changed(path, good) == {"_event": [3]}
    with uproot.open(path) as file:
        assert file[damage.PARTICLES]["_event"].array(library="np")[3] == 99
        assert file[damage.CLUSTERS]["_event"].array(library="np")[3] == 3


@pytest.mark.parametrize(("field", "value"), [("_xnum", 100), ("_xlen", 0.25)])
def test_geometry(tmp_path, good, field, value):
    path = damage.with_meta(SAMPLE, tmp_path / "a.root", entry=5, field=field, value=value)
    assert changed(path, good) == {f"_meta.{field}": [5]}
    with uproot.open(path) as file:
        assert file[damage.CLUSTERS][f"_meta.{field}"].array(library="np")[5] == value


def test_voxels(tmp_path, good):
    where = {"entry": 6, "cluster": 2, "voxel": 4}
    old = decode(good[damage.CLUSTERS, VOXELS][6])
    path = damage.with_voxel_id(SAMPLE, tmp_path / "a.root", **where, value=2**40)
    assert changed(path, good) == {VOXELS: [6]}
    assert clusters_of(path, 6)[2][0][4] == 2**40
    path = damage.with_energy(SAMPLE, tmp_path / "b.root", **where, value=float("nan"))
    energies = clusters_of(path, 6)[2][1]
    assert np.flatnonzero(np.isnan(energies)).tolist() == [4]
    path = damage.with_unsorted_voxels(SAMPLE, tmp_path / "c.root", entry=6, cluster=2)
    assert clusters_of(path, 6)[2][0].tolist() == old[2][0][::-1].tolist()
    path = damage.with_voxel_count(SAMPLE, tmp_path / "d.root", entry=6, value=2**31)
    with uproot.open(path) as file:
        raw = entries_of(file[damage.CLUSTERS][VOXELS])[6]
    assert struct.unpack_from(">I", raw, 12) == (2**31,)


def test_fewer_clusters(tmp_path, good):
    path = damage.without_clusters(SAMPLE, tmp_path / "a.root", entry=1, clusters=[0, 3])
    old, new = good[damage.CLUSTERS, VOXELS][1], contents(path)[damage.CLUSTERS, VOXELS][1]
    assert len(decode(new)) == len(decode(old)) - 2
    assert [len(c[0]) for c in decode(new)] == [
        len(c[0]) for i, c in enumerate(decode(old)) if i not in (0, 3)
    ]
    with uproot.open(path) as file:
        assert len(file[damage.CLUSTERS]["_voxel_vv._id"].array()[1]) == len(decode(new))
    assert set(changed(path, good)) == {"_voxel_vv", "_voxel_vv._id", VOXELS}


def test_particles(tmp_path, good):
    path = damage.with_pdg(SAMPLE, tmp_path / "a.root", entry=2, particle=1, value=12345678)
    assert changed(path, good) == {"_part_v._pdg": [2]}
    path = damage.with_process(SAMPLE, tmp_path / "b.root", entry=2, particle=1, value="")
    assert changed(path, good) == {"_part_v._process": [2]}
    with uproot.open(path) as file:
        names = file[damage.PARTICLES]["_part_v._process"].array(library="np")
    assert names[2][1] == ""
    assert names[2][0] == "primary"


def test_fewer_particles(tmp_path):
    path = damage.without_particles(SAMPLE, tmp_path / "a.root", entry=2, particles=[1])
    with uproot.open(path) as file, uproot.open(SAMPLE) as old:
        for branch in file[damage.PARTICLES].itervalues(recursive=True):
            # _bb2d_v is member-wise, which uproot refuses.
            if "_part_v." not in branch.name or "bb2d" in branch.name:
                continue
            before = old[damage.PARTICLES][branch.name].array(library="np")[2].tolist()
            assert branch.array(library="np")[2].tolist() == before[:1] + before[2:]


@pytest.mark.parametrize("tail", [-1, -100, -100_000, -472_000])
def test_truncated(tmp_path, tail):
    path = damage.truncated(SAMPLE, tmp_path / "a.root", size=tail)
    assert path.read_bytes() == SAMPLE.read_bytes()[:tail]


def test_not_closed_has_no_list_of_keys(tmp_path):
    path = damage.not_closed(SAMPLE, tmp_path / "a.root")
    data = path.read_bytes()
    begin, end, seek_free, num_free, free, name_size = struct.unpack_from(">6i", data, 8)
    assert (seek_free, num_free, free) == (0, 0, 1)
    assert end == begin + struct.unpack_from(">i", data, begin)[0] < len(data)
    assert keys_record(SAMPLE.read_bytes())[0] > len(data) > 460_000
    directory = struct.unpack_from(">hIIiiiii", data, begin + name_size)
    assert (directory[3], directory[-1]) == (0, 0)  # fNbytesKeys, fSeekKeys


def test_a_missing_product(tmp_path):
    path = damage.without_product(SAMPLE, tmp_path / "f.root", tree=damage.PARTICLES)
    with uproot.open(path) as file, uproot.open(SAMPLE) as old:
        assert sorted(file) == sorted(k for k in old if not k.startswith(damage.PARTICLES))


def test_a_broken_basket_breaks_alone(tmp_path):
    path = damage.with_broken_basket(SAMPLE, tmp_path / "g.root", basket=3)
    with uproot.open(path) as file, uproot.open(SAMPLE) as old:
        branch, intact = file[damage.CLUSTERS][VOXELS], old[damage.CLUSTERS][VOXELS]
        with pytest.raises(zlib.error):
            branch.basket(3)
        for number in {*range(branch.num_baskets)} - {3}:
            assert bytes(branch.basket(number).data) == bytes(intact.basket(number).data)
