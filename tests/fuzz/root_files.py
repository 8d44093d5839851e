"""Mutated LArCV2 files."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.readers import index_source
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.kinds import Reading
from pilarnet_convert.readers.repeats import merge_repeats
from pilarnet_convert.readers.sources import find_sources
from tests import damage
from tests.fuzz.target import Mutation
from tests.rootedit import RootFile
from tests.sample import SAMPLE

__all__ = ["RootFiles"]

#: Values that counts and sizes are set to, as 32 bits.
_EXTREMES = (0, 1, 2, 255, 65_536, 2**24, 2**30, 2**31 - 1, 2**31, 2**32 - 1)


class RootFiles:
    """The bundled sample, mutated."""

    def __init__(self, folder: Path) -> None:
        self._good = SAMPLE.read_bytes()
        self._covered = _compressed_payloads(self._good)
        # The trees of this one are not compressed, so that their counts can be changed.
        file = RootFile(SAMPLE)
        for tree in (damage.CLUSTERS, damage.PARTICLES):
            branch = "_run"
            file.rewrite(tree, {branch: lambda entries: entries})
        self._plain = file.save(folder / "plain.root").read_bytes()
        self._trees = len(self._good)  # what was rewritten lies behind the rest

    def mutate(self, rng: np.random.Generator, path: Path) -> Mutation:
        """Write a mutated file."""
        mutations: list[Callable[[np.random.Generator, Path], Mutation]] = [
            self._flip,
            self._overwrite,
            self._cut,
            self._header,
            self._count,
            self._recompress,
        ]
        return mutations[rng.integers(len(mutations))](rng, path)

    def _flip(self, rng: np.random.Generator, path: Path) -> Mutation:
        data = np.frombuffer(self._good, np.uint8).copy()
        at = rng.integers(0, len(data), rng.integers(1, 9))
        data[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
        path.write_bytes(data.tobytes())
        return Mutation("bits anywhere", bool(self._covered[at].all()))

    def _overwrite(self, rng: np.random.Generator, path: Path) -> Mutation:
        data = np.frombuffer(self._good, np.uint8).copy()
        size = int(rng.integers(4, 5000))
        start = int(rng.integers(0, len(data) - size))
        where = slice(start, start + size)
        data[where] = rng.choice([0, 255]) if rng.random() < 0.5 else rng.integers(0, 256, size)
        path.write_bytes(data.tobytes())
        return Mutation("a block overwritten", bool(self._covered[where].all()))

    def _cut(self, rng: np.random.Generator, path: Path) -> Mutation:
        at, size = int(rng.integers(0, len(self._good))), int(rng.integers(1, 5000))
        keep = rng.random() < 0.5
        path.write_bytes(self._good[:at] + (b"" if keep else self._good[at + size :]))
        return Mutation("cut, or a block taken out", False)

    def _header(self, rng: np.random.Generator, path: Path) -> Mutation:
        data = bytearray(self._good)
        for at in rng.integers(0, 300, rng.integers(1, 5)).tolist():
            data[at] = int(rng.integers(256))
        path.write_bytes(data)
        return Mutation("file header", False)

    def _count(self, rng: np.random.Generator, path: Path) -> Mutation:
        data = bytearray(self._plain)
        for _ in range(rng.integers(1, 3)):
            at = int(rng.integers(self._trees, len(data) - 4))
            struct.pack_into(">I", data, at, int(rng.choice(_EXTREMES)))
        path.write_bytes(data)
        return Mutation("counts of the trees", False)

    def _recompress(self, rng: np.random.Generator, path: Path) -> Mutation:
        """Change an entry of a branch, with all checksums right."""
        file = RootFile(SAMPLE)
        tree = str(rng.choice([damage.CLUSTERS, damage.PARTICLES]))
        branches = [b for b in file.tree(tree).itervalues(recursive=True) if b.num_baskets]
        branch = branches[rng.integers(len(branches))].name

        def edit(entries: list[bytes]) -> list[bytes]:
            number = int(rng.integers(len(entries)))
            entry = bytearray(entries[number])
            for _ in range(rng.integers(1, 4) if len(entry) >= 4 else 0):
                at = int(rng.integers(0, len(entry) - 3))
                struct.pack_into(">I", entry, at, int(rng.choice(_EXTREMES)))
            entries[number] = bytes(entry)
            return entries

        file.rewrite(tree, {branch: edit})
        file.save(path)
        return Mutation("contents, recompressed", False)

    def read(self, path: Path) -> bytes:
        """Read all events of a file as a conversion does."""
        parts = []
        (files,) = find_sources([path])
        for source in index_source(files, reading=Reading()):
            with source.open() as reader:
                events = reader.read(0, source.num_entries)
            events, _ = merge_repeats(events)
            check_events(events)
            fields = vars(events)
            names = np.array(events.process_names)[events.process]
            arrays = [v for v in fields.values() if isinstance(v, np.ndarray)]
            parts += [array.tobytes() for array in arrays] + [names.tobytes()]
        return b"".join(parts)


def _compressed_payloads(data: bytes) -> NDArray[np.bool_]:
    """Tell of each byte whether it is compressed data, which zlib's checksum covers."""
    covered = np.zeros(len(data), bool)
    (at,) = struct.unpack_from(">i", data, 8)
    while at + 18 <= len(data):
        size, _, num_bytes, _, key_size = struct.unpack_from(">ihiIh", data, at)
        if size <= 0:
            at += max(-size, 4)
            continue
        block, stop = at + key_size, at + size
        if size - key_size != num_bytes:
            while block < stop:
                packed = int.from_bytes(data[block + 3 : block + 6], "little")
                covered[block + 9 : block + 9 + packed] = True
                block += 9 + packed
        at = stop
    return covered
