"""The conversion beside a plain loop and beside the floor of decompression, on the same file.

    python -m tests.benchmarks.bench_convert FILE.root [--repeat 300] [--rounds 5]

Each round runs in turn: the plain loop over events, one uncompressed .npz a particle; the floor,
which is the two parts of the work that cannot be left out, in one process and from memory:
decompressing the baskets that are needed, with Python's own zlib or lzma, and compressing the
arrays of the shards; ours in one process; ours in two. The file is named ``--repeat`` times, so
that times are long enough to compare. Printed are events a second and the medians of the ratios
within a round.
"""

from __future__ import annotations

import argparse
import lzma
import shutil
import statistics
import struct
import tempfile
import time
import zlib
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
from numcodecs import blosc

from pilarnet_convert import convert, open_shards
from pilarnet_convert.readers.larcv2 import Larcv2Source, index_larcv2
from pilarnet_convert.shards.array import CHUNK_ROWS
from pilarnet_convert.species import label_of_pdg


def plain_loop(file: Path, out: Path) -> None:
    """Read event by event, decode in Python, write one .npz a particle."""
    import uproot  # not above: the workers of a conversion import the main module once more

    out.mkdir()
    with uproot.open(file) as root:
        clusters, particles = root["cluster3d_mcst_tree"], root["particle_mcst_tree"]
        voxels = _branch(clusters, "_voxel_vv._voxel_v")
        grid = [_branch(clusters, f"_meta._{axis}num") for axis in "xyz"]
        wanted = [
            _branch(particles, f"_part_v.{name}")
            for name in ("_pdg", "_trackid", "_energy_init", "_energy_deposit", "_px", "_py", "_pz")
        ]
        basket, number = None, -1
        for entry in range(clusters.num_entries):
            located = int(np.searchsorted(voxels.entry_offsets, entry, "right")) - 1
            if located != number:
                basket, number = voxels.basket(located), located
            local = entry - voxels.entry_offsets[number]
            start, stop = basket.byte_offsets[local : local + 2]
            sets = _decode_event(bytes(basket.data[start:stop]))
            nx, ny, _ = (int(b.array(entry_start=entry, entry_stop=entry + 1)[0]) for b in grid)
            pdg, *others = (
                b.array(entry_start=entry, entry_stop=entry + 1, library="np")[0] for b in wanted
            )
            for index, (ids, energies) in enumerate(sets[: len(pdg)]):
                label = int(label_of_pdg(np.array([pdg[index]]))[0])
                if label < 0 or len(ids) < 10:
                    continue
                xyz = [(i % nx, i // nx % ny, i // (nx * ny)) for i in ids]
                np.savez(
                    out / f"{entry:06d}_{index:04d}.npz",
                    coordinates=np.array(xyz),
                    energy=np.array(energies),
                    label=label,
                    **{
                        b.name.split(".")[-1]: v[index]
                        for b, v in zip(wanted[1:], others, strict=True)
                    },
                )


def _branch(tree: object, name: str) -> object:
    return next(b for b in tree.itervalues(recursive=True) if b.name == name)  # type: ignore[attr-defined]


def _decode_event(data: bytes) -> list[tuple[tuple[int, ...], tuple[float, ...]]]:
    position, sets = 12, []
    while position < len(data):
        (count,) = struct.unpack_from(">I", data, position)
        ids = struct.unpack_from(f">{count}Q", data, position + 4)
        energies = struct.unpack_from(f">{count}f", data, position + 4 + 8 * count)
        sets.append((ids, energies))
        position += 4 + 12 * count
    return sets


def baskets(source: Larcv2Source) -> list[tuple[bytes, bytes]]:
    """Load the compressed blocks of the baskets that the conversion needs: algorithm and bytes."""
    blocks = []
    for tree in (source.clusters, source.particles):
        content = Path(tree.file).read_bytes()
        for table in tree.branches.values():
            for seek, size in zip(table.seek.tolist(), table.num_bytes.tolist(), strict=True):
                raw = content[seek : seek + size]
                object_bytes, position = struct.unpack_from(">i4xh", raw, 6)
                while position < size and size - position != object_bytes:
                    packed = int.from_bytes(raw[position + 3 : position + 6], "little")
                    block = raw[position + 9 : position + 9 + packed]
                    blocks.append((raw[position : position + 2], block))
                    position += 9 + packed
    return blocks


def arrays(folder: Path) -> list[np.ndarray]:
    """Load all arrays of a set of shards."""
    shards = (shard for split in open_shards(folder).splits.values() for shard in split)
    return [values for shard in shards for values in shard.read().values()]


def floor(blocks: list[tuple[bytes, bytes]], repeat: int, contents: list[np.ndarray]) -> None:
    """Decompress blocks of baskets, compress arrays of shards, and do nothing else."""
    algorithms = {b"ZL": zlib.decompress, b"XZ": lzma.decompress}
    for _ in range(repeat):
        for letters, block in blocks:
            algorithms[letters](block)
    blosc.use_threads = False
    for values in contents:
        for start in range(0, len(values), CHUNK_ROWS):
            blosc.compress(values[start : start + CHUNK_ROWS], b"zstd", 1, blosc.BITSHUFFLE, 0)


def num_bytes(folder: Path) -> int:
    """Add up the sizes of the files in a folder."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def timed(work: Callable[[], object]) -> float:
    """Return the seconds that a piece of work takes."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("file", type=Path)
    parser.add_argument("--repeat", type=int, default=300, help="how often the file is named")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    source = index_larcv2(args.file.name, [args.file])
    blocks = baskets(source)
    events = source.num_entries * args.repeat
    times: dict[str, list[float]] = {"plain": [], "floor": [], "one": [], "two": []}
    with tempfile.TemporaryDirectory() as scratch:
        plain_out, one, two = (Path(scratch) / name for name in ("plain", "one", "two"))
        for _ in range(args.rounds):
            shutil.rmtree(plain_out, ignore_errors=True)
            times["plain"].append(timed(lambda: plain_loop(args.file, plain_out)) * args.repeat)
            for name, out, workers in (("one", one, 1), ("two", two, 2)):
                inputs = [args.file] * args.repeat
                shutil.rmtree(out, ignore_errors=True)
                times[name].append(
                    timed(lambda: convert(inputs, out, workers=workers, allow_duplicates=True))  # noqa: B023
                )
            floor_of = partial(floor, blocks, args.repeat, arrays(one))
            times["floor"].append(timed(floor_of))
        sizes = num_bytes(one) / (num_bytes(plain_out) * args.repeat)
    for name, text in (
        ("plain", "plain loop, one .npz a particle"),
        ("floor", "floor, (de)compression alone"),
        ("one", "ours, one process"),
        ("two", "ours, two processes"),
    ):
        print(f"{text:34s} {events / statistics.median(times[name]):10,.0f} events/s")
    for text, above, below in (
        ("one process / floor (time)", "one", "floor"),
        ("plain loop / one process (time)", "plain", "one"),
        ("one process / two (time)", "one", "two"),
    ):
        ratios = [a / b for a, b in zip(times[above], times[below], strict=True)]
        spread = f"({min(ratios):.2f} to {max(ratios):.2f})"
        print(f"{text:34s} {statistics.median(ratios):10.2f}   {spread}")
    print(f"{'shards / .npz (bytes)':34s} {sizes:10.2f}")


if __name__ == "__main__":
    main()
