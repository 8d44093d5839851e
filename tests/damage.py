"""Altered and damaged LArCV files, one function a kind, each made from a good file.

Every function takes the good file and the path to write, and returns that path. The altered trees
stay readable: only what the name of the function says is wrong with them.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tests.rootedit import Edit, RootFile, edit_branches
from tests.voxelcodec import (
    BYTE_COUNT,
    HEADER,
    MEMBERWISE,
    Voxels,
    decode,
    encode,
    encode_object_wise,
)

CLUSTERS = "cluster3d_mcst_tree"
PARTICLES = "particle_mcst_tree"
_VOXELS = "_voxel_vv._voxel_v"


# Whole files.


def empty(target: Path) -> Path:
    """Write a file of no bytes."""
    target.write_bytes(b"")
    return target


def not_root(target: Path) -> Path:
    """Write something that is no ROOT file: a page that a failed download leaves."""
    target.write_bytes(b"<!DOCTYPE html><title>503 Service Unavailable</title>\n" * 50)
    return target


def with_own_uuid(target: Path) -> Path:
    """Change the UUID of a damaged copy, so that it is not taken for the file that it is of."""
    data = target.read_bytes()
    begin, *_, name_size = struct.unpack_from(">6i", data, 8)
    # Behind version, dates, sizes and three positions of the directory: version, then the UUID.
    at = begin + name_size + 2 + 4 * 2 + 4 * 2 + 4 * 3 + 2
    own = hashlib.blake2b(str(target).encode(), digest_size=16).digest()
    if len(data) > at + 16:
        target.write_bytes(data.replace(data[at : at + 16], own))
    return target


def truncated(source: Path, target: Path, *, size: int) -> Path:
    """Cut a file after `size` bytes, or that many before its end where `size` is negative."""
    target.write_bytes(source.read_bytes()[:size])
    return target


def not_closed(source: Path, target: Path) -> Path:
    """Leave a file as a killed writer leaves it.

    ROOT writes the header when it creates a file, with fEND after the directory record and
    without free segments and streamer info (TFile::Init, TFile::WriteHeader), and the true header,
    the list of keys and its place in the directory only when it closes the file.
    """
    data = bytearray(source.read_bytes())
    begin, *_, name_size = struct.unpack_from(">6i", data, 8)
    directory_end = begin + struct.unpack_from(">i", data, begin)[0]
    (tail,) = struct.unpack_from(">i", data, 37)  # fSeekInfo: what closing writes starts there
    struct.pack_into(">iiii", data, 12, directory_end, 0, 0, 1)  # fEND, fSeekFree, fNbytesFree, n
    struct.pack_into(">ii", data, 37, 0, 0)  # fSeekInfo, fNbytesInfo
    struct.pack_into(">i", data, begin + name_size + 10, 0)  # fNbytesKeys
    struct.pack_into(">i", data, begin + name_size + 26, 0)  # fSeekKeys
    target.write_bytes(data[:tail])
    return target


def with_broken_basket(
    source: Path, target: Path, *, tree: str = CLUSTERS, branch: str = _VOXELS, basket: int = 0
) -> Path:
    """Overwrite the middle of a compressed basket, as a bad disk does."""
    file = RootFile(source)
    wanted = file.tree(tree)[branch]
    start, size = wanted.member("fBasketSeek")[basket], wanted.member("fBasketBytes")[basket]
    middle = int(start) + int(size) // 2
    file.data[middle : middle + 16] = b"\xa5" * 16
    return file.save(target)


def without_product(source: Path, target: Path, *, tree: str) -> Path:
    """Leave a tree out of the list of keys."""
    file = RootFile(source)
    file.drop_key(tree)
    return file.save(target)


# Trees.


def with_entries(source: Path, target: Path, *, count: int, trees: Sequence[str]) -> Path:
    """Keep only the first `count` entries of the named trees."""
    file = RootFile(source)
    for tree in trees:
        branches = file.tree(tree).itervalues(recursive=True)
        file.rewrite(tree, {branch.name: lambda entries: entries[:count] for branch in branches})
    return file.save(target)


def with_id(source: Path, target: Path, *, tree: str, entry: int, field: str, value: int) -> Path:
    """Change the run, subrun or event (`field`) of one entry of one tree."""
    edit = _in_entry(entry, lambda _: struct.pack(">Q", value))
    return edit_branches(source, target, tree=tree, edits={f"_{field}": edit})


def with_meta(source: Path, target: Path, *, entry: int, field: str, value: float) -> Path:
    """Change a number of an event's voxel geometry, e.g. ``_xnum`` or ``_xlen``."""
    code = ">Q" if field.endswith("num") or field == "_num_element" else ">d"
    edit = _in_entry(entry, lambda _: struct.pack(code, value))
    return edit_branches(source, target, tree=CLUSTERS, edits={f"_meta.{field}": edit})


# Clusters.


def with_voxels(
    source: Path, target: Path, *, entry: int, edit: Callable[[list[Voxels]], Sequence[Voxels]]
) -> Path:
    """Change the voxels of one event by a function of its list of clusters.

    The number of clusters may change: the counter of the clusters and their ids follow.
    """
    file = RootFile(source)
    id_type = ">u8" if "64" in file.tree(CLUSTERS)["_voxel_vv._id"].typename else ">u2"
    clusters: list[Voxels] = []

    def change(raw: bytes) -> bytes:
        clusters[:] = edit(decode(raw))
        return encode(clusters, like=raw)

    edits = {
        _VOXELS: change,  # first: the others follow what it left
        "_voxel_vv": lambda _: struct.pack(">i", len(clusters)),
        "_voxel_vv._id": lambda _: np.arange(len(clusters)).astype(id_type).tobytes(),
    }
    file.rewrite(CLUSTERS, {name: _in_entry(entry, apply) for name, apply in edits.items()})
    return file.save(target)


def with_voxel_id(
    source: Path, target: Path, *, entry: int, cluster: int, voxel: int, value: int
) -> Path:
    """Return a voxel another id."""

    def edit(clusters: list[Voxels]) -> list[Voxels]:
        clusters[cluster][0][voxel] = value
        return clusters

    return with_voxels(source, target, entry=entry, edit=edit)


def with_energy(
    source: Path, target: Path, *, entry: int, cluster: int, voxel: int, value: float
) -> Path:
    """Return a voxel another energy, in MeV: NaN and infinity too."""

    def edit(clusters: list[Voxels]) -> list[Voxels]:
        clusters[cluster][1][voxel] = value
        return clusters

    return with_voxels(source, target, entry=entry, edit=edit)


def with_unsorted_voxels(source: Path, target: Path, *, entry: int, cluster: int) -> Path:
    """Turn the order of a cluster's voxels around."""

    def edit(clusters: list[Voxels]) -> list[Voxels]:
        ids, values = clusters[cluster]
        clusters[cluster] = (ids[::-1].copy(), values[::-1].copy())
        return clusters

    return with_voxels(source, target, entry=entry, edit=edit)


def without_clusters(source: Path, target: Path, *, entry: int, clusters: Sequence[int]) -> Path:
    """Remove clusters from an event; its particles stay."""
    return with_voxels(
        source,
        target,
        entry=entry,
        edit=lambda old: [voxels for i, voxels in enumerate(old) if i not in clusters],
    )


def with_voxel_count(source: Path, target: Path, *, entry: int, value: int) -> Path:
    """Let the first cluster of an event claim `value` voxels (uint32), whatever it holds."""
    edit = _in_entry(
        entry,
        lambda raw: raw[: HEADER.size] + struct.pack(">I", value) + raw[HEADER.size + 4 :],
    )
    return edit_branches(source, target, tree=CLUSTERS, edits={_VOXELS: edit})


def object_wise(source: Path, target: Path) -> Path:
    """Write the voxels one object after another, as ROOT does without member-wise streaming.

    An entry is a byte count and a version without the member-wise bit; then for each VoxelSet a
    count and its voxels, each with a byte count, the version 0 and the checksum of its class.
    """

    def edit(entries: list[bytes]) -> list[bytes]:
        return [encode_object_wise(raw) for raw in entries]

    return edit_branches(source, target, tree=CLUSTERS, edits={_VOXELS: edit})


# Particles.


def with_unset_event(source: Path, target: Path, *, entry: int) -> Path:
    """Store nothing in an event: LArCV2 then writes what its ``clear_data`` leaves."""
    with_voxels(source, target, entry=entry, edit=lambda _: [])
    without_particles(target, target, entry=entry, particles=range(1000))
    numbers = dict.fromkeys(("_xnum", "_ynum", "_znum", "_num_element"), struct.pack(">Q", 0))
    numbers |= dict.fromkeys(("_xlen", "_ylen", "_zlen"), struct.pack(">d", -1.0))
    edits = {f"_meta.{name}": _in_entry(entry, lambda _, n=n: n) for name, n in numbers.items()}
    return edit_branches(target, target, tree=CLUSTERS, edits=edits)


def with_pdg(source: Path, target: Path, *, entry: int, particle: int, value: int) -> Path:
    """Return a particle another PDG code."""
    return with_field(
        source, target, entry=entry, particle=particle, field="_pdg", code="i", value=value
    )


def with_field(
    source: Path, target: Path, *, entry: int, particle: int, field: str, code: str, value: float
) -> Path:
    """Change a number of a particle, e.g. ``_energy_deposit`` with the struct code ``d``."""

    def change(raw: bytes) -> bytes:
        numbers = bytearray(raw)
        struct.pack_into(f">{code}", numbers, particle * struct.calcsize(code), value)
        return bytes(numbers)

    edits = {f"_part_v.{field}": _in_entry(entry, change)}
    return edit_branches(source, target, tree=PARTICLES, edits=edits)


def with_process(source: Path, target: Path, *, entry: int, particle: int, value: str) -> Path:
    """Return a particle another creation process, under 255 letters."""

    def change(raw: bytes) -> bytes:
        names = _items(raw, is_string=True)
        names[particle] = bytes([len(value)]) + value.encode()
        return _with_byte_count(raw[:6] + b"".join(names))

    edits = {"_part_v._process": _in_entry(entry, change)}
    return edit_branches(source, target, tree=PARTICLES, edits=edits)


def without_particles(source: Path, target: Path, *, entry: int, particles: Sequence[int]) -> Path:
    """Remove particles from an event; its clusters stay."""
    file = RootFile(source)
    tree = file.tree(PARTICLES)
    total = int(tree["_part_v._pdg"].array(library="np", entry_start=entry)[0].size)
    kept = [i for i in range(total) if i not in particles]

    def pick(branch: Any) -> Edit:
        def change(raw: bytes) -> bytes:
            if branch.name == "_part_v":
                return struct.pack(">i", len(kept))
            if not branch.typename.startswith("std::"):
                width = len(raw) // total
                return b"".join(raw[i * width : (i + 1) * width] for i in kept)
            head = 12 if raw[4] & (MEMBERWISE >> 8) else 6
            items = _items(raw, head=head, is_string="string" in branch.typename)
            return _with_byte_count(raw[:head] + b"".join(items[i] for i in kept))

        return _in_entry(entry, change)

    branches = [b for b in tree.itervalues(recursive=True) if b.name.startswith("_part_v")]
    file.rewrite(PARTICLES, {branch.name: pick(branch) for branch in branches})
    return file.save(target)


def _items(raw: bytes, *, is_string: bool, head: int = 6) -> list[bytes]:
    """Split an entry of short strings, or of vectors of 64-bit numbers, into its items."""
    items, at = [], head
    while at < len(raw):
        size = 1 + raw[at] if is_string else 4 + 8 * struct.unpack_from(">I", raw, at)[0]
        items.append(raw[at : at + size])
        at += size
    return items


def _with_byte_count(raw: bytes) -> bytes:
    return struct.pack(">I", BYTE_COUNT | (len(raw) - 4)) + raw[4:]


def _in_entry(entry: int, change: Callable[[bytes], bytes]) -> Edit:
    """Make an edit that touches one entry."""

    def edit(entries: list[bytes]) -> list[bytes]:
        entries[entry] = change(entries[entry])
        return entries

    return edit
