"""What must hold of the products of a source, whichever reader looks into its files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pilarnet_convert.errors import InputError

__all__ = ["common_length", "refuse_missing"]


def refuse_missing(trees: Sequence[str], *, file: Path, present: Sequence[str]) -> None:
    """Refuse a source that lacks trees.

    Raises
    ------
    InputError
        If `trees`, the missing ones, are not empty; `present` says what is there instead.
    """
    if trees:
        raise InputError(
            "a product is missing",
            file=file,
            field=trees[0],
            found=", ".join(present) or "an empty file",
            advice="put the file that holds it beside this one, in cluster/ or particle/ "
            "as in the archive",
        )


def common_length(lengths: Mapping[str, int], *, file: Path) -> int:
    """Give the number of entries that all trees of a source have.

    Raises
    ------
    InputError
        If they differ, or there are none.
    """
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
