"""Rewrite the contents of a ROOT file without ROOT, to make altered and damaged inputs.

A changed basket and the ``TTree`` object that points to it are appended to the file, and the few
numbers that lead there are patched: ``fBasketSeek`` and its companions in the tree, the entry of
the tree in the list of keys, ``fEND`` in the file header. What a reader does not follow any more
stays as a gap, which ROOT files may have.

The layouts are those of ROOT's documentation (``io/doc/TFile``: header, ``TKey``, ``TDirectory``,
``TTree``) and of ``TBasket::Streamer``.
"""

from __future__ import annotations

import itertools
import struct
import zlib
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import uproot

__all__ = ["BASKET_TAIL", "Edit", "RootFile", "edit_branches", "entries_of", "keys_record"]

#: Changes the serialised entries of a branch: bytes in, bytes out, one item an entry.
Edit = Callable[[list[bytes]], Sequence[bytes]]

#: What a TBasket adds to its TKey: fVersion, fBufferSize, fNevBufSize, fNevBuf, fLast, a flag.
BASKET_TAIL = struct.Struct(">Hiiiib")
_BIG_KEY = 1000  # a TKey of a higher version holds 64-bit seeks
_END_AT = 12  # position of fEND in the header of a small file
_ZLIB_BLOCK = 0xFFFFFF  # a compressed block tells its sizes in three bytes


class RootFile:
    """A ROOT file in memory whose branches can be rewritten.

    Parameters
    ----------
    source : path
        A file under 2 GB, closed by its writer.
    """

    def __init__(self, source: Path) -> None:
        self.data = bytearray(Path(source).read_bytes())
        self._file = uproot.open(source)

    def tree(self, name: str) -> Any:
        """Return uproot's view of the original tree."""
        return self._file[name]

    def rewrite(self, tree: str, edits: Mapping[str, Edit]) -> None:
        """Change branches of one tree; the number of entries may change if all branches are given.

        Each branch keeps the grouping of its entries into baskets.

        Parameters
        ----------
        tree : str
            The name of the tree.
        edits : mapping of str to Edit
            A function a branch. Branches without baskets may stand here too, and take the new
            number of entries.
        """
        original = self.tree(tree)
        body = self.metadata_of(tree)
        counts = set()
        for name, edit in edits.items():
            branch = original[name]
            if branch.num_baskets == 0:
                continue
            before = entries_of(branch)
            after = list(edit(list(before)))
            counts.add(len(after))
            baskets = [
                self._append_basket(branch, number, after[start:stop])
                for number, (start, stop) in _grouping(branch, len(after))
            ]
            _patch_branch(body, branch, baskets, len(after))
        (count,) = counts or {original.num_entries}
        if count != original.num_entries:
            for branch in original.itervalues(recursive=True):
                if branch.num_baskets == 0:
                    _patch_branch(body, branch, [], count)
            _patch_tree(body, original, count)
        self.append_metadata(tree, body)

    def metadata_of(self, tree: str) -> bytearray:
        """Return the serialised ``TTree`` object, as it was."""
        key = self._file.key(tree)
        chunk, cursor = key.get_uncompressed_chunk_cursor()
        return bytearray(cursor.bytes(chunk, key.fObjlen, {}).tobytes())

    def save(self, target: Path) -> Path:
        """Write the file with an honest ``fEND`` and return its path."""
        struct.pack_into(">i", self.data, _END_AT, len(self.data))
        Path(target).write_bytes(self.data)
        return Path(target)

    def drop_key(self, name: str) -> None:
        """Take an object out of the list of keys, as if it had never been written."""
        body, stop = keys_record(self.data)
        entry = self._key_header(name)
        at = self.data.index(entry, body, stop)
        count = struct.unpack_from(">i", self.data, body)[0]
        struct.pack_into(">i", self.data, body, count - 1)
        self.data[at:stop] = self.data[at + len(entry) : stop] + bytes(len(entry))

    def _key_header(self, name: str) -> bytes:
        key = self._file.key(name)
        return bytes(self.data[key.fSeekKey : key.fSeekKey + key.fKeylen])

    def append_metadata(self, name: str, body: bytes | bytearray) -> None:
        """Put a serialised ``TTree`` object, which may be compressed, in the place of a tree."""
        old = self._key_header(name)
        at = self.data.index(old, *keys_record(self.data))
        new = bytearray(old)
        struct.pack_into(">i", new, 0, len(old) + len(body))
        _set_seek(new, len(self.data))
        self.data[at : at + len(new)] = new
        self.data += new + body

    def _append_basket(
        self, branch: Any, number: int, entries: Sequence[bytes]
    ) -> tuple[int, int, int]:
        """Append a basket; return its place, its size and its number of entries."""
        start, key_size = (
            branch.member("fBasketSeek")[number],
            branch.basket(number).member("fKeylen"),
        )
        header = bytearray(self.data[start : start + key_size])
        payload = b"".join(entries)
        last = key_size + len(payload)
        raw = payload
        if branch.basket(number).byte_offsets is not None:
            offsets = [key_size]
            for entry in entries:
                offsets.append(offsets[-1] + len(entry))
            offsets[-1] = 0  # ROOT leaves the end of the last entry to fLast
            raw += struct.pack(f">i{len(offsets)}i", len(offsets), *offsets)
        version, size, width, _, _, flag = BASKET_TAIL.unpack_from(
            header, key_size - BASKET_TAIL.size
        )
        BASKET_TAIL.pack_into(
            header,
            key_size - BASKET_TAIL.size,
            *(version, max(size, key_size + len(raw)), width, len(entries), last, flag),
        )
        body = _compress(raw)
        struct.pack_into(">i", header, 0, key_size + len(body))
        struct.pack_into(">i", header, 6, len(raw))
        place = len(self.data)
        _set_seek(header, place)
        self.data += header + body
        return place, len(header) + len(body), len(entries)


def edit_branches(source: Path, target: Path, *, tree: str, edits: Mapping[str, Edit]) -> Path:
    """Copy a file with some branches of one tree changed; see `RootFile.rewrite`."""
    file = RootFile(source)
    file.rewrite(tree, edits)
    return file.save(target)


def entries_of(branch: Any) -> list[bytes]:
    """Return the serialised entries of a branch, in order, as they lie in its baskets."""
    entries: list[bytes] = []
    for number in range(branch.num_baskets):
        basket = branch.basket(number)
        data, bounds = bytes(basket.data), basket.byte_offsets
        if bounds is None:
            width = len(data) // basket.num_entries
            bounds = range(0, len(data) + 1, width)
        entries += [data[a:b] for a, b in itertools.pairwise(bounds)]
    return entries


def keys_record(data: bytes | bytearray) -> tuple[int, int]:
    """Return where the content of the top directory's list of keys starts and stops."""
    begin, name_size = struct.unpack_from(">i", data, 8)[0], struct.unpack_from(">i", data, 28)[0]
    directory = begin + name_size
    big = struct.unpack_from(">h", data, directory)[0] > _BIG_KEY
    seek = struct.unpack_from(">q" if big else ">i", data, directory + (34 if big else 26))[0]
    size, key_size = struct.unpack_from(">i10xh", data, seek)
    return seek + key_size, seek + size


def _set_seek(key: bytearray, place: int) -> None:
    """Write into a TKey where it lies itself (fSeekKey)."""
    big = struct.unpack_from(">h", key, 4)[0] > _BIG_KEY
    struct.pack_into(">q" if big else ">i", key, 18, place)


def _grouping(branch: Any, count: int) -> list[tuple[int, tuple[int, int]]]:
    """Share `count` entries among the baskets as they were, the last taking what is new."""
    bounds = [int(x) for x in branch.entry_offsets]
    bounds[-1] = max(count, bounds[-1])
    cut = [(min(a, count), min(b, count)) for a, b in itertools.pairwise(bounds)]
    return [(number, span) for number, span in enumerate(cut) if span[0] < span[1]]


def _compress(raw: bytes) -> bytes:
    """Compress as ROOT does with its setting 109: one zlib block of level 9, if it is smaller."""
    packed = zlib.compress(raw, 9)
    if len(raw) > _ZLIB_BLOCK or len(packed) + 9 >= len(raw):
        return raw
    sizes = len(packed).to_bytes(3, "little") + len(raw).to_bytes(3, "little")
    return b"ZL\x08" + sizes + packed


def _patch_tree(body: bytearray, tree: Any, count: int) -> None:
    names = ("fEntries", "fTotBytes", "fZipBytes", "fSavedBytes", "fFlushedBytes")
    pattern = struct.pack(">5q", *(tree.member(name) for name in names))
    struct.pack_into(">q", body, body.index(pattern), count)


def _patch_branch(
    body: bytearray, branch: Any, baskets: Sequence[tuple[int, int, int]], count: int
) -> None:
    """Point a branch, inside its serialised tree, to other baskets."""
    start = _find_branch(body, branch)
    struct.pack_into(">iq", body, start + 12, len(baskets), count)  # fWriteBasket, fEntryNumber
    names = ("fOffset", "fMaxBaskets", "fSplitLevel", "fEntries", "fFirstEntry")
    pattern = struct.pack(">iiiqq", *(branch.member(name) for name in names))
    struct.pack_into(">q", body, body.index(pattern, start) + 12, count)
    if branch.num_baskets == 0:
        return
    size = branch.member("fMaxBaskets")
    seeks = struct.pack(f">{size}q", *branch.member("fBasketSeek"))
    at = body.index(seeks, start)
    if body.find(seeks, at + 1) >= 0:
        raise ValueError(f"the baskets of {branch.name} cannot be told from another branch's")
    pad = [0] * (size - len(baskets))
    ends = [0]
    for _, _, entries in baskets:
        ends.append(ends[-1] + entries)
    struct.pack_into(f">{size}q", body, at, *(place for place, _, _ in baskets), *pad)
    at -= 1 + 8 * size  # each array is preceded by a byte that says it is there
    struct.pack_into(f">{size}q", body, at, *(ends + pad)[:size])
    at -= 1 + 4 * size
    struct.pack_into(f">{size}i", body, at, *(nbytes for _, nbytes, _ in baskets), *pad)


def _find_branch(body: bytes | bytearray, branch: Any) -> int:
    """Return the position of fCompress, the first number of a serialised TBranch."""
    text = b"".join(bytes([len(s)]) + s.encode() for s in (branch.name, branch.title))
    names = ("fCompress", "fBasketSize", "fEntryOffsetLen", "fWriteBasket", "fEntryNumber")
    numbers = struct.pack(">iiiiq", *(branch.member(name) for name in names))
    at = body.find(text)
    while at >= 0:
        start = at + len(text) + 10  # a TAttFill lies between: byte count, version, two numbers
        if body[start : start + len(numbers)] == numbers:
            return start
        at = body.find(text, at + 1)
    raise ValueError(f"{branch.name} was not found in its tree")
