"""Finding the products (trees) of a source in its files, for all readers of LArCV2 files."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from pilarnet_convert.errors import InputError

__all__ = ["common_length", "find_products"]

_Found = TypeVar("_Found")


def find_products(
    files: Sequence[Path],
    trees: Iterable[str],
    look: Callable[[Path, Sequence[str]], tuple[str, Mapping[str, _Found], Iterable[str]]],
) -> tuple[dict[str, _Found], tuple[tuple[str, int, str], ...]]:
    """Find trees in the files of a source; the first file that has one provides it.

    `look` takes a file and the trees still wanted. It gives the UUID of the file, what it found of
    these trees, and the names of all trees of the file. A tree in no file is an `InputError`.

    Returns
    -------
    found : dict
        What `look` found of each tree.
    used : tuple of (name, size in bytes, UUID)
        The files that provide the trees, as `Source` has them.
    """
    found: dict[str, _Found] = {}
    used: dict[str, tuple[str, int, str]] = {}
    present: list[str] = []
    missing = list(trees)
    for file in files:
        if missing:
            uuid, here, names = look(file, missing)
            found |= here
            used |= dict.fromkeys(here, (file.name, file.stat().st_size, uuid))
            present += [f"{name} ({file.name})" for name in names]
            missing = [tree for tree in missing if tree not in here]
    if missing:
        raise InputError(
            "a product is missing",
            file=files[0],
            field=missing[0],
            found=", ".join(present) or "an empty file",
            advice="put the file that holds it beside this one, in cluster/ or particle/ "
            "as in the archive",
        )
    return found, tuple(dict.fromkeys(used[tree] for tree in trees))


def common_length(lengths: Mapping[str, int], *, file: Path) -> int:
    """Give the number of entries of all trees; `InputError` if they differ or there are none."""
    if len(set(lengths.values())) > 1:
        raise InputError(
            "the products differ in length",
            file=file,
            expected="as many entries in each tree",
            found=", ".join(f"{tree} {entries}" for tree, entries in lengths.items()),
            advice="take both products from the same production",
        )
    (length,) = set(lengths.values())
    if not length:
        raise InputError("there are no events", file=file, advice="leave the file out")
    return length
