"""What to read, cut into units of work: pure decisions, apart from looking which files exist.

A unit is a range of entries of one source that tears no basket of voxels. Units depend on the
input alone, never on the number of workers.
"""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from pilarnet_convert.errors import InputError, PilarnetError
from pilarnet_convert.readers.events import Source
from pilarnet_convert.shards.format import SPLITS

__all__ = ["ShardCutter", "SourceFiles", "Unit", "cut_units", "find_sources", "parse_splits"]

#: Compressed bytes of voxels in a unit: some 200 events of 512 pixels, a tenth of a second. The
#: smaller baskets of particles hold about as many events, and each unit decompresses its own.
UNIT_BYTES: Final = 4_000_000
#: The archive's layout: products beside the images, in folders and under names of their own.
_PRODUCTS: Final = ("cluster", "particle")
_PRODUCT_NAME: Final = re.compile(r"(?:(?<=^)|(?<=_))(cluster|particle)_")


@dataclass(frozen=True, kw_only=True)
class SourceFiles:
    """A source by its name and the files that may hold its products, the one named first."""

    name: str
    files: tuple[Path, ...]


@dataclass(frozen=True, kw_only=True)
class Unit:
    """Entries ``start`` to ``stop`` (end excluded) of the source with the index `source`."""

    source: int
    start: int
    stop: int


def find_sources(inputs: Sequence[str | Path]) -> list[SourceFiles]:
    """Turn files, folders and globs into sources.

    Parameters
    ----------
    inputs : sequence of str or Path
        Folders are searched for ``*.root`` through all their levels. The files of one source in
        the archive's layout (``dlprod_*.root``, ``cluster/dlprod_cluster_*.root``,
        ``particle/dlprod_particle_*.root``) are found from whichever of them is named, and make
        one source however many of them are.

    Returns
    -------
    list of SourceFiles
        In the order named. A file that is named twice gives two sources.

    Raises
    ------
    InputError
        If an input does not exist or holds no ROOT file.
    """
    named: dict[tuple[Path, str], list[Path]] = {}
    for text in inputs:
        for path in _expand(text):
            named.setdefault(_identity(path), []).append(path)
    sources = []
    for (folder, name), paths in named.items():
        places = [path.absolute() for path in paths]
        spelled = dict(zip(reversed(places), reversed(paths), strict=True))
        distinct = dict.fromkeys([*places, *_companions(folder, name)])
        files = tuple(spelled.get(place, place) for place in distinct)
        times = max(Counter(places).values())
        sources += [SourceFiles(name=name, files=files)] * times
    return sources


def _expand(text: str | Path) -> list[Path]:
    path = Path(text).expanduser()
    if path.is_dir():
        found = sorted(p for p in path.rglob("*.root") if p.is_file())
        if not found:
            raise InputError(
                "the folder holds no *.root files", file=path, advice="name LArCV files"
            )
        return found
    if path.exists():
        return [path]
    found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    if not found:
        raise InputError(
            "no such file or folder, and no file matches",
            file=path,
            advice="check the path; put a glob in quotes",
        )
    return [file for match in found for file in (_expand(match) if match.is_dir() else [match])]


def _identity(path: Path) -> tuple[Path, str]:
    """Give the folder and the name of the image file of the source that `path` belongs to."""
    folder = path.absolute().parent
    name = _PRODUCT_NAME.sub("", path.name)
    if folder.name in _PRODUCTS and name != path.name:
        folder = folder.parent
    return folder, name


def _companions(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a source that exist, where the archive or a flat folder has them."""
    prefix, _, rest = name.partition("_")
    for product in _PRODUCTS:
        product_name = f"{prefix}_{product}_{rest}" if rest else f"{product}_{name}"
        for path in (folder / product / product_name, folder / product_name):
            if path.is_file():
                yield path
    if (folder / name).is_file():
        yield folder / name


def parse_splits(text: str) -> dict[str, float]:
    """Read fractions such as ``train=0.8,val=0.1,test=0.1``.

    Raises
    ------
    PilarnetError
        If a name is unknown or the fractions do not add up to 1.
    """
    try:
        pairs = [part.split("=") for part in text.split(",")]
        splits = {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        splits = {}
    valid = splits and set(splits) <= set(SPLITS) and all(0 <= f <= 1 for f in splits.values())
    if not valid or len(pairs) != len(splits) or abs(sum(splits.values()) - 1) > 1e-6:
        raise PilarnetError(
            "not fractions of the splits",
            field="--splits",
            expected="train, val and test adding up to 1, as in train=0.8,val=0.1,test=0.1",
            found=text,
        )
    return {split: splits.get(split, 0.0) for split in SPLITS}


def cut_units(sources: Mapping[int, Source], *, max_events: int | None = None) -> list[Unit]:
    """Cut sources into units of work, in order.

    Parameters
    ----------
    sources : mapping of int to Source
        Sources by their index.
    max_events : int, optional
        Take only the first of all events.
    """
    units: list[Unit] = []
    left = np.inf if max_events is None else max_events
    for number, source in sources.items():
        entries, num_bytes = source.cheap_cuts()
        # Equal shares, so that none is a remainder that costs its overhead for a few events.
        num_units = max(1, round(int(num_bytes[-1]) / UNIT_BYTES))
        shares = np.linspace(0, num_bytes[-1], num_units + 1)[1:-1]
        start = 0
        for stop in np.unique([*entries[np.searchsorted(num_bytes, shares)], entries[-1]]):
            stop = int(min(stop, start + left))
            if stop > start:
                units.append(Unit(source=number, start=start, stop=stop))
                left -= stop - start
            start = stop
    return units


class ShardCutter:
    """Cuts the stream of the particles of one split into shards of equal size.

    Parameters
    ----------
    particles_per_shard : int
        Every shard but the last has this many.
    """

    def __init__(self, particles_per_shard: int) -> None:
        self.size = particles_per_shard
        self._parts: list[tuple[int, int, int]] = []
        self._filled = 0

    def add(self, unit: int, num_particles: int) -> Iterable[list[tuple[int, int, int]]]:
        """Append the particles of a unit; give each shard that this completes.

        Yields
        ------
        list of (unit, start, stop)
            The ranges of particles that make up the shard.
        """
        start = 0
        while start < num_particles:
            stop = min(num_particles, start + self.size - self._filled)
            self._parts.append((unit, start, stop))
            self._filled += stop - start
            start = stop
            if self._filled == self.size:
                yield from self.finish()

    def finish(self) -> Iterable[list[tuple[int, int, int]]]:
        """Give what is left as a last, smaller shard, if anything is."""
        if self._parts:
            yield self._parts
        self._parts, self._filled = [], 0
