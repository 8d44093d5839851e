"""Which files make up which source: files, folders and globs turned into sources."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import InputError
from pilarnet_convert.readers.local_files import files_below

__all__ = ["SourceFiles", "find_sources"]

#: The archive's layout: products beside the images, in folders and under names of their own.
_PRODUCTS: Final = ("cluster", "particle")
_PRODUCT_NAME: Final = re.compile(r"(?:(?<=^)|(?<=_))(cluster|particle)_")


@dataclass(frozen=True, kw_only=True)
class SourceFiles:
    """A source by its name and the files that may hold its products, those named first."""

    name: str
    files: tuple[Path, ...]
    num_named: int


def find_sources(
    inputs: Sequence[str | Path],
    *,
    note: Callable[[str], object] = lambda _: None,
    absolute: bool = False,
) -> list[SourceFiles]:
    """Turn files, folders and globs into sources, in the order named.

    Folders are searched for ``*.root``, ``*.h5``, ``*.hdf5`` and ``*.parquet`` through all their
    levels; `note` is told in a line what else there is. The ROOT files of one source in the
    archive's layout (``dlprod_*.root``, ``cluster/dlprod_cluster_*.root``,
    ``particle/dlprod_particle_*.root``) are found from whichever of them is named, and make one
    source however many of them are. A file that is named twice gives two sources. With `absolute`,
    paths are those that another process finds, whatever folder it runs in.

    Raises
    ------
    InputError
        If an input does not exist or holds no such file.
    """
    named: dict[tuple[Path, str], list[Path]] = {}
    for text in inputs:
        named_path = Path(text).expanduser()
        for path in _expand(named_path.absolute() if absolute else named_path, note):
            named.setdefault(_identity(path), []).append(path)
    sources = []
    for (folder, name), paths in named.items():
        places = [path.absolute() for path in paths]
        spelled = dict(zip(reversed(places), reversed(paths), strict=True))
        distinct = dict.fromkeys([*places, *_companions(folder, name)])
        files = tuple(spelled.get(place, place) for place in distinct)
        times = max(Counter(places).values())
        named_here = len(set(places))
        sources += [SourceFiles(name=name, files=files, num_named=named_here)] * times
    return sources


def _expand(path: Path, note: Callable[[str], object]) -> list[Path]:
    if path.is_dir():
        return files_below(path, note=note)
    if path.exists() or path.is_symlink():
        return [path]
    found = sorted(Path(match) for match in glob.glob(str(path), recursive=True))
    if not found:
        raise InputError(
            "no such file or folder, and no file matches",
            file=path,
            advice="check the path; put a glob in quotes",
        )
    return [f for match in found for f in (_expand(match, note) if match.is_dir() else [match])]


def _identity(path: Path) -> tuple[Path, str]:
    """Give the folder and the name of the image file of the source that `path` belongs to."""
    folder = path.absolute().parent
    if path.suffix != ".root":  # the archive has no others
        return folder, path.name
    name = _PRODUCT_NAME.sub("", path.name)
    if folder.name in _PRODUCTS and name != path.name:
        folder = folder.parent
    return folder, name


def _companions(folder: Path, name: str) -> Iterator[Path]:
    """Yield the files of a source that exist, where the archive or a flat folder has them."""
    if not name.endswith(".root"):
        return
    prefix, _, rest = name.partition("_")
    for product in _PRODUCTS:
        product_name = f"{prefix}_{product}_{rest}" if rest else f"{product}_{name}"
        for path in (folder / product / product_name, folder / product_name):
            if path.is_file():
                yield path
    if (folder / name).is_file():
        yield folder / name
