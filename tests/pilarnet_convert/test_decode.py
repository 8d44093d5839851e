"""From compressed baskets to arrays, against slow loops and other compression libraries."""

from __future__ import annotations

import itertools
import lzma
import struct
import tracemalloc
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import cramjam
import numpy as np
import pytest
import uproot
import xxhash
from hypothesis import given, settings
from hypothesis import strategies as st

from pilarnet_convert.errors import InputError
from pilarnet_convert.ragged import offsets_of
from pilarnet_convert.readers import baskets, decode
from pilarnet_convert.readers.baskets import BasketReader, decompress
from pilarnet_convert.readers.decode import Basket
from pilarnet_convert.readers.larcv2 import index_larcv2
from pilarnet_convert.readers.root_file import BasketTable, TreeIndex, index_trees
from tests import damage, voxelcodec
from tests.pilarnet_convert.inputs import MODERN, QUIRKS
from tests.rootedit import RootFile
from tests.sample import SAMPLE

#: Headers of entries: member-wise, class version 0 (a checksum follows) and another (none does).
LIKE = voxelcodec.HEADER.pack(0, 0x400A, 0, 0xABCDEF01)
cluster = st.lists(
    st.tuples(st.integers(0, 2**63 - 1), st.floats(width=32, allow_nan=False)), max_size=5
)
events = st.lists(st.lists(cluster, max_size=4), min_size=1, max_size=6)


def cut(entries: list[bytes], borders: list[int]) -> list[Basket]:
    """Pack entries into baskets that end at the borders."""
    found = []
    for start, stop in itertools.pairwise(sorted({0, *borders, len(entries)})):
        part = entries[start:stop]
        starts = offsets_of(np.array([len(entry) for entry in part]))
        found.append(Basket(b"".join(part), starts, start))
    return found


def spans(data: st.DataObject, number: int) -> tuple[list[int], int, int]:
    borders = data.draw(st.lists(st.integers(0, number), max_size=3))
    start, stop = sorted([data.draw(st.integers(0, number)), data.draw(st.integers(0, number))])
    return borders, start, stop


def needed(all_baskets: list[Basket], start: int, stop: int) -> list[Basket]:
    ends = [b.first_entry + len(b.starts) - 1 for b in all_baskets if b.starts is not None]
    return [
        b for b, end in zip(all_baskets, ends, strict=True) if b.first_entry < stop and end > start
    ]


@settings(deadline=None)
@given(events, st.sampled_from(["checksum", "class version", "object-wise"]), st.data())
def test_voxel_sets(events: Any, layout: str, data: st.DataObject):
    entries = []
    for event in events:
        sets = [
            (
                np.array([i for i, _ in c], np.uint64),
                np.array([v for _, v in c], np.float32),
            )
            for c in event
        ]
        entry = voxelcodec.encode(sets, like=LIKE)
        if layout == "object-wise":
            entry = voxelcodec.encode_object_wise(entry)
        elif layout == "class version":
            body = struct.pack(">HH", 0x400A, 3) + entry[12:]
            entry = struct.pack(">I", len(body) | 0x40000000) + body
        elif not event and data.draw(st.booleans()):
            entry = b""  # ROOT writes nothing at all for no clusters
        entries.append(entry)
    borders, start, stop = spans(data, len(events))
    found = decode.voxel_sets(needed(cut(entries, borders), start, stop), start, stop)
    clusters, voxels, ids, values = found
    part = events[start:stop]
    assert clusters.tolist() == [len(event) for event in part]
    assert voxels.tolist() == [len(c) for event in part for c in event]
    assert ids.tolist() == [i for event in part for c in event for i, _ in c]
    assert values.dtype == np.float32
    assert values.tolist() == [v for event in part for c in event for _, v in c]


@pytest.mark.parametrize("damage", ["count", "length", "byte-count", "ragged"])
def test_voxel_sets_that_do_not_add_up(damage: str):
    entry = bytearray(
        voxelcodec.encode([(np.arange(3, dtype=np.uint64), np.ones(3, np.float32))], like=LIKE)
    )
    if damage == "count":
        struct.pack_into(">I", entry, 12, 4)
    if damage == "length":
        del entry[-4:]
        struct.pack_into(">I", entry, 0, (len(entry) - 4) | 0x40000000)
    if damage == "byte-count":
        entry[3] ^= 1
    if damage == "ragged":
        entry += b"\0"
    with pytest.raises(ValueError, match="do not add up"):
        decode.voxel_sets(cut([bytes(entry)], []), 0, 1)


@given(st.lists(st.lists(st.text(max_size=300), max_size=4), min_size=1, max_size=5), st.data())
def test_strings(events: list[list[str]], data: st.DataObject):
    entries = []
    for event in events:
        body = b""
        for text in event:
            raw = text.encode()
            body += bytes([len(raw)]) if len(raw) < 255 else b"\xff" + struct.pack(">I", len(raw))
            body += raw
        body = struct.pack(">H", 9) + body
        entries.append(struct.pack(">I", len(body) | 0x40000000) + body)
    borders, start, stop = spans(data, len(events))
    codes, texts = decode.strings(needed(cut(entries, borders), start, stop), start, stop)
    wanted = [text for event in events[start:stop] for text in event]
    assert [texts[code] for code in codes] == wanted
    assert texts == tuple(dict.fromkeys(wanted))


@given(st.lists(st.lists(st.integers(-(2**31), 2**31 - 1)), min_size=1, max_size=6), st.data())
def test_numbers(events: list[list[int]], data: st.DataObject):
    entries = [struct.pack(f">{len(event)}i", *event) for event in events]
    borders, start, stop = spans(data, len(events))
    counts, values = decode.jagged(
        needed(cut(entries, borders), start, stop), start, stop, dtype=">i4"
    )
    assert counts.tolist() == [len(event) for event in events[start:stop]]
    assert values.tolist() == [value for event in events[start:stop] for value in event]
    assert values.dtype == np.int32
    firsts = [struct.pack(">i", len(event)) for event in events]
    flat = decode.flat(needed(cut(firsts, borders), start, stop), start, stop, dtype=">i4")
    assert flat.tolist() == [len(event) for event in events[start:stop]]


def block(letters: bytes, packed: bytes, size: int) -> bytes:
    """Return a compressed block with the header of ROOT (core/zip: R__zip)."""
    return (
        letters + b"\x08" + len(packed).to_bytes(3, "little") + size.to_bytes(3, "little") + packed
    )


def with_xxh64(packed: bytes) -> bytes:
    return struct.pack(">Q", xxhash.xxh64(packed).intdigest()) + packed


PACKERS = {
    b"ZL": lambda data: zlib.compress(data, 6),
    b"XZ": lambda data: lzma.compress(data),
    b"ZS": lambda data: bytes(cramjam.zstd.compress(data)),
    # ROOT puts the XXH64 of the packed bytes before them (core/lz4: R__zipLZ4).
    b"L4": lambda data: with_xxh64(bytes(cramjam.lz4.compress_block(data, store_size=False))),
}


@pytest.mark.parametrize("letters", PACKERS, ids=lambda letters: letters.decode())
@pytest.mark.parametrize("use_libdeflate", [True, False])
def test_every_algorithm(letters: bytes, use_libdeflate: bool, monkeypatch: pytest.MonkeyPatch):
    if not use_libdeflate:
        monkeypatch.setattr(baskets, "deflate", None)
    data = np.random.default_rng(3).integers(0, 9, 50_000).astype(np.uint8).tobytes()
    parts = [data[:20_000], data[20_000:20_001], data[20_001:]]
    record = b"".join(block(letters, PACKERS[letters](part), len(part)) for part in parts)
    assert decompress(memoryview(record), len(data)) == data
    assert decompress(memoryview(record), 20_000) == parts[0]


@pytest.mark.parametrize("letters", PACKERS, ids=lambda letters: letters.decode())
def test_broken_blocks(letters: bytes):
    data = bytes(range(256)) * 20
    packed = PACKERS[letters](data)
    broken = [
        block(letters, packed[: len(packed) // 2], len(data)),
        block(letters, packed, len(data) - 1),
        block(letters, b"\xa5" * len(packed), len(data)),
        block(b"??", packed, len(data)),
        block(letters, packed, 0),
        b"",
    ]
    for record in broken:
        with pytest.raises(ValueError, match=r"block|compression"):
            decompress(memoryview(record), len(data))


@pytest.mark.parametrize("letters", PACKERS, ids=lambda letters: letters.decode())
def test_single_bits_of_blocks(letters: bytes):
    """A flipped bit is noticed, except in Zstandard blocks: ROOT writes them without a checksum."""
    data = np.random.default_rng(3).integers(0, 9, 3000).astype(np.uint8).tobytes()
    record = block(letters, PACKERS[letters](data), len(data))
    for bit in range(9 * 8, 8 * len(record), 7):
        flipped = bytearray(record)
        flipped[bit // 8] ^= 1 << bit % 8
        try:
            found = decompress(memoryview(flipped), len(data))
        except ValueError:
            continue
        assert found == data or letters == b"ZS"


@pytest.mark.parametrize("letters", [b"ZL", b"XZ", b"ZS"], ids=lambda letters: letters.decode())
@pytest.mark.parametrize("use_libdeflate", [True, False])
def test_blocks_that_hold_more_than_they_say(
    letters: bytes, use_libdeflate: bool, monkeypatch: pytest.MonkeyPatch
):
    if not use_libdeflate:
        monkeypatch.setattr(baskets, "deflate", None)
    record = block(letters, PACKERS[letters](bytes(30_000_000)), 1000)
    tracemalloc.start()
    with pytest.raises(ValueError, match="block"):
        decompress(memoryview(record), 1000)
    assert tracemalloc.get_traced_memory()[1] < 10_000_000
    tracemalloc.stop()


def test_a_basket_larger_than_its_branch(tmp_path: Path):
    source = index_larcv2("a", [SAMPLE])
    name = "_voxel_vv._voxel_v"
    other = relaid(source.clusters, name, tmp_path / "a", lambda part: part)
    content = bytearray((tmp_path / "a").read_bytes())
    struct.pack_into(">i", content, int(other.branches[name].seek[0]) + 6, 2**31 - 1)
    (tmp_path / "a").write_bytes(content)
    with closing(BasketReader(other)) as reader, pytest.raises(InputError, match="in a branch of"):
        reader.voxel_sets(name, 0, 1)


def relaid(index: TreeIndex, name: str, target: Path, packer: Any, *, split: int = 1) -> TreeIndex:
    """Write the baskets of a branch into a file of their own, packed in another way."""
    with uproot.open(index.file) as file:
        branch = file[index.tree][name]
        content, seek, size = bytearray(), [], []
        for number in range(branch.num_baskets):
            basket = branch.basket(number)
            key_bytes = basket.member("fKeylen")
            start = branch.member("fBasketSeek")[number]
            header = bytearray(Path(index.file).read_bytes()[start : start + key_bytes])
            data, positions = bytes(basket.data), basket.byte_offsets
            if positions is not None:
                listed = [*(positions[:-1] + key_bytes).tolist(), 0]
                data += struct.pack(f">i{len(listed)}i", len(listed), *listed)
            parts = [
                data[i : i + len(data) // split + 1]
                for i in range(0, len(data), len(data) // split + 1)
            ]
            packed = b"".join(packer(part) for part in parts)
            struct.pack_into(">i", header, 0, key_bytes + len(packed))
            struct.pack_into(">i", header, 6, len(data))
            seek.append(len(content))
            size.append(key_bytes + len(packed))
            content += header + packed
    target.write_bytes(content)
    old = index.branches[name]
    table = BasketTable(
        name=name,
        dtype=old.dtype,
        entries=old.entries,
        seek=np.array(seek),
        num_bytes=np.array(size),
        total_bytes=old.total_bytes,
    )
    return TreeIndex(
        file=str(target), tree=index.tree, num_entries=index.num_entries, branches={name: table}
    )


@pytest.mark.parametrize("letters", [*PACKERS, b""], ids=lambda letters: letters.decode() or "none")
def test_baskets_of_every_compression(tmp_path: Path, letters: bytes):
    source = index_larcv2("a", [SAMPLE])
    packer = (
        (lambda part: block(letters, PACKERS[letters](part), len(part)))
        if letters
        else (lambda part: part)
    )
    names = {"_voxel_vv._voxel_v": "voxel_sets", "_part_v._process": "strings"}
    for (name, method), index in zip(
        names.items(), (source.clusters, source.particles), strict=True
    ):
        other = relaid(index, name, tmp_path / method, packer, split=2)
        with (
            closing(BasketReader(index)) as ours,
            closing(BasketReader(other)) as theirs,
        ):
            for span in [(0, 20), (3, 14)]:
                one, two = getattr(ours, method)(name, *span), getattr(theirs, method)(name, *span)
                assert repr(one) == repr(two)
                assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("letters", PACKERS, ids=lambda letters: letters.decode())
def test_damaged_metadata_of_every_compression(tmp_path: Path, letters: bytes):
    file = RootFile(SAMPLE)
    body = file.metadata_of(damage.CLUSTERS)
    packed = bytearray(block(letters, PACKERS[letters](body), len(body)))
    file.append_metadata(damage.CLUSTERS, packed)
    path = file.save(tmp_path / "a.root")
    assert index_larcv2("a", [path]).clusters.num_entries == 20
    where = len(file.data) - len(packed) // 2
    file.data[where : where + 9] = b"\xa5" * 9
    with pytest.raises(InputError, match="cannot be read as a ROOT file"):
        index_larcv2("a", [file.save(path)])


def test_baskets_inside_the_metadata(tmp_path: Path):
    """uproot does not write any, so a table that claims one is read through uproot's basket."""
    source = index_larcv2("a", [SAMPLE])
    for index, name, method in [
        (source.clusters, "_event", "flat"),
        (source.clusters, "_voxel_vv._voxel_v", "voxel_sets"),
        (source.particles, "_part_v._pdg", "jagged"),
    ]:
        table = index.branches[name]
        inside = BasketTable(
            name=name,
            dtype=table.dtype,
            entries=table.entries,
            seek=np.full_like(table.seek, -1),
            num_bytes=np.full_like(table.num_bytes, -1),
            total_bytes=table.total_bytes,
        )
        embedded = TreeIndex(
            file=index.file,
            tree=index.tree,
            num_entries=index.num_entries,
            branches={name: inside},
        )
        with (
            closing(BasketReader(index)) as ours,
            closing(BasketReader(embedded)) as theirs,
        ):
            one, two = getattr(ours, method)(name, 2, 17), getattr(theirs, method)(name, 2, 17)
        one, two = ((x if isinstance(x, tuple) else (x,)) for x in (one, two))
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


@pytest.mark.parametrize("path", [SAMPLE, QUIRKS, MODERN], ids=lambda path: path.name)
def test_numbers_are_those_that_uproot_reads(path: Path):
    source = index_larcv2("a", [path])
    for index, tree in ((source.clusters, damage.CLUSTERS), (source.particles, damage.PARTICLES)):
        with uproot.open(path) as file, closing(BasketReader(index)) as reader:
            for name, table in index.branches.items():
                if not table.dtype:
                    continue
                wanted = file[tree][name].array(library="np")
                if wanted.dtype == object:
                    counts, values = reader.jagged(name, 0, index.num_entries)
                    assert counts.tolist() == [len(row) for row in wanted]
                    assert values.tobytes() == np.concatenate(list(wanted)).tobytes()
                else:
                    assert reader.flat(name, 0, index.num_entries).tobytes() == wanted.tobytes()


def test_markers_of_version_3_have_the_members_of_version_2():
    with uproot.open(SAMPLE) as file:
        described = file.file.streamers["TAttMarker"][3]
        known = uproot.classes["TAttMarker"].known_versions[2]
    assert [element.name for element in described.elements] == known.member_names
    assert [element.typename for element in described.elements] == ["short", "short", "float"]


def test_the_index_is_of_what_was_asked_for(tmp_path: Path):
    _, found, keys = index_trees(SAMPLE, lambda _: {damage.CLUSTERS: {"_event": "flat"}})
    assert found.keys() == {damage.CLUSTERS}
    assert found[damage.CLUSTERS].branches.keys() == {"_event"}
    assert {damage.CLUSTERS, damage.PARTICLES} <= set(keys)
