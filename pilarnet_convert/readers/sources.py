"""Which files make up which source: files, folders and globs turned into sources."""

from __future__ import annotations

import glob
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pilarnet_convert.errors import InputError
from pilarnet_convert.options import OptionError
from pilarnet_convert.readers.local_files import SUFFIXES, files_below
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path

__all__ = ["SourceFiles", "find_sources", "read_input_list"]

#: The products for which the archive has folders and files beside those of the images.
_PRODUCTS: Final = ("cluster", "particle")
#: What makes a URL a glob; not ``?``, which begins a query.
_GLOB: Final = re.compile(r"[*\[]")
_COMMENT: Final = re.compile(r"(^|\s)#.*")
_PRODUCT_NAME: Final = re.compile(r"(?:(?<=^)|(?<=_))(cluster|particle)_")


@dataclass(frozen=True, kw_only=True)
class SourceFiles:
    """A source: its name, and the files that may hold its products.

    The first `num_named` files are those that the user named.
    """

    name: str
    files: tuple[AnyPath, ...]
    num_named: int


def find_sources(
    inputs: Sequence[str | AnyPath],
    *,
    note: Callable[[str], object] = lambda _: None,
    absolute: bool = False,
) -> list[SourceFiles]:
    """Turn files, folders, globs and URLs of these into sources, in the order named.

    Folders are searched at all levels for ``*.root``, ``*.h5``, ``*.hdf5`` and ``*.parquet``;
    `note` is called with a line about other files. The ROOT files of a source in the archive's
    layout (``dlprod_*.root``, ``cluster/dlprod_cluster_*.root``,
    ``particle/dlprod_particle_*.root``) are found if one of them is named, and make one source
    even if several are named. A file that is named twice gives two sources. With `absolute`, paths
    are made absolute, for processes that run in other folders.

    Raises
    ------
    InputError
        If an input does not exist or holds no such file.
    """
    named: dict[tuple[AnyPath, str], list[AnyPath]] = {}
    for text in inputs:
        named_path = as_any_path(text)
        for path in _expand(named_path.absolute() if absolute else named_path, note):
            named.setdefault(_identity(path), []).append(path)
    sources = []
    for (folder, name), paths in named.items():
        absolute_paths = [path.absolute() for path in paths]
        spelled = dict(zip(reversed(absolute_paths), reversed(paths), strict=True))
        distinct = dict.fromkeys([*absolute_paths, *_companions(folder, name)])
        files = tuple(spelled.get(path, path) for path in distinct)
        times = max(Counter(absolute_paths).values())
        named_here = len(set(absolute_paths))
        sources += [SourceFiles(name=name, files=files, num_named=named_here)] * times
    return sources


def _expand(path: AnyPath, note: Callable[[str], object]) -> Sequence[AnyPath]:
    if isinstance(path, RemotePath):
        return _expand_remote(path)
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


def _expand_remote(path: RemotePath) -> list[RemotePath]:
    """List the files of a remote folder or glob; a single file is checked when it is read."""
    if _GLOB.search(path.url):
        found = path.glob(SUFFIXES)
    elif path.suffix.lower() in SUFFIXES or not path.is_dir():
        return [path]
    else:
        found = path.find(SUFFIXES)
    if not found:
        raise InputError(
            "no file matches, or the server does not list its files",
            file=path,
            advice="check the address, or name the files, as with --input-list",
        )
    return found


def read_input_list(lines: Iterable[str], *, name: str) -> list[str]:
    """Read a list of inputs, one per line; empty lines and comments after ``#`` are left out.

    Raises
    ------
    OptionError
        If the list names no input or is not text; the error names the list as `name`.
    """
    try:
        words = (_COMMENT.sub("", line).strip() for line in lines)
        found = [word for word in words if word]
    except UnicodeDecodeError as error:
        raise OptionError(
            "not a list of names in UTF-8", file=name, field="--input-list"
        ) from error
    if not found:
        raise OptionError(
            "the list names no input",
            file=name,
            field="--input-list",
            advice="write a file, folder or URL on each line",
        )
    return found


def _identity(path: AnyPath) -> tuple[AnyPath, str]:
    """Return the folder and the name of the image file of the source that `path` belongs to."""
    folder = path.absolute().parent
    if path.suffix != ".root":  # the archive has no others
        return folder, path.name
    name = _PRODUCT_NAME.sub("", path.name)
    if folder.name in _PRODUCTS and name != path.name:
        folder = folder.parent
    return folder, name


def _companions(folder: AnyPath, name: str) -> Iterator[AnyPath]:
    """Yield the files of a source, where the archive or a flat folder has them.

    Local files are yielded if they exist. Remote ones are always yielded: `find_products` looks
    for them if the files before them lack a product.
    """
    if not name.endswith(".root"):
        return
    prefix, _, rest = name.partition("_")
    for product in _PRODUCTS:
        product_name = f"{prefix}_{product}_{rest}" if rest else f"{product}_{name}"
        for path in (folder / product / product_name, folder / product_name):
            if isinstance(path, RemotePath) or path.is_file():
                yield path
    image = folder / name
    if isinstance(image, RemotePath) or image.is_file():
        yield image
