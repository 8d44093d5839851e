"""Which products of a LArCV file are read, and the errors if they are missing or do not match."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, NamedTuple, TypeVar

from pilarnet_convert.errors import InputError, listed
from pilarnet_convert.storage.byte_file import read_head
from pilarnet_convert.storage.remote import AnyPath, RemotePath

__all__ = [
    "MissingProductError",
    "Products",
    "choose_products",
    "common_length",
    "find_products",
    "no_products",
    "parse_products",
]

_File = TypeVar("_File", bound=AnyPath)
_Found = TypeVar("_Found")
#: Names that are preferred: PILArNet's, then those of SPINE and edep2supera.
_PREFERRED: Final[tuple[str, ...]] = ("mcst", "pcluster")
_LARCV1: Final = re.compile(r"(partroi|pgraph|pixel2d|voxel3d)_\w+_tree")
_LARCV2: Final = re.compile(r"(particle|cluster[23]d|sparse[23]d|tensor[23]d|neutrino)_\w+_tree")
_WANTED: Final = re.compile(r"(cluster3d_[^\s,]+)\s*,\s*(particle_[^\s,]+)")


class Products(NamedTuple):
    """The two products that are read, such as ``cluster3d_mcst`` and ``particle_mcst``."""

    clusters: str
    particles: str


class MissingProductError(InputError):
    """Files without the products that make up a source."""


def parse_products(text: str) -> Products | None:
    """Read ``cluster3d_NAME,particle_NAME``; None if it is something else."""
    match = _WANTED.fullmatch(text.strip())
    return match and Products(*match.groups())


def choose_products(
    names: Iterable[str], *, wanted: Products | None, file: object
) -> Products | None:
    """Choose the two products to read.

    Parameters
    ----------
    names : iterable of str
        The products that are there, such as ``cluster3d_mcst``.
    wanted : Products, optional
        The products that the user wants. By default those called ``mcst``, else ``pcluster``, else
        the only pair of one name.
    file : object
        The file that has them, for messages.

    Returns
    -------
    Products or None
        None if one of the two is missing.

    Raises
    ------
    InputError
        If there are several pairs to choose from.
    """
    there = set(names)
    if wanted is not None:
        return wanted if there.issuperset(wanted) else None
    both = {
        name.removeprefix("cluster3d_")
        for name in there
        if name.startswith("cluster3d_") and name.replace("cluster3d_", "particle_", 1) in there
    }
    pairs = [name for name in _PREFERRED if name in both][:1] or sorted(both)
    if len(pairs) > 1:
        choice = [f"cluster3d_{name},particle_{name}" for name in pairs]
        raise InputError(
            "several pairs of products",
            file=file,
            found=listed(choice),
            advice=f"choose one, as with --products {choice[0]}",
        )
    return Products(f"cluster3d_{pairs[0]}", f"particle_{pairs[0]}") if pairs else None


def find_products(
    files: Sequence[_File],
    look: Callable[[_File], tuple[str, Mapping[str, _Found], Mapping[str, str]]],
    *,
    wanted: Products | None,
    suffix: str,
) -> tuple[Products, dict[str, _Found], tuple[tuple[str, int, str], ...]]:
    """Find the two products in the files of a source; the first file that has one provides it.

    Parameters
    ----------
    files : sequence of Path or RemotePath
        The files, the one that the user named first; the others are searched for what it lacks.
    look : function of a file
        Returns its UUID, what it found for each product, and the class of everything in the file.
    wanted : Products, optional
        See `choose_products`.
    suffix : str
        What follows the name of a product in a file, ``_tree`` or ``_group``.

    Returns
    -------
    products : Products
        The two that are read.
    found : dict
        What `look` found for each product.
    used : tuple of (name, size in bytes, UUID)
        The files that provide them, that of the clusters first.

    Raises
    ------
    InputError
        If a product is in none of the files, or there are several pairs.
    """
    found: dict[str, _Found] = {}
    used: dict[str, tuple[str, int, str]] = {}
    present: dict[str, str] = {}
    for file in files:
        # `find_sources` does not check whether the companions of a remote file exist.
        if present and isinstance(file, RemotePath) and not file.exists():
            continue
        uuid, here, classes = look(file)
        record = (file.name, read_head(file, 0)[1], uuid)
        found = {**here, **found}
        used = {**dict.fromkeys(here, record), **used}
        present |= {f"{name} ({file.name})": kind for name, kind in classes.items()}
        pair = choose_products(found, wanted=wanted, file=files[0])
        if pair is not None:
            return pair, found, tuple(dict.fromkeys(used[product] for product in pair))
    raise no_products(files[0], present, names=found, suffix=suffix, wanted=wanted)


def no_products(
    path: object,
    present: Mapping[str, str],
    *,
    names: Iterable[str],
    suffix: str,
    wanted: Products | None,
) -> MissingProductError:
    """Describe a LArCV or ROOT file that lacks the products that are read.

    Parameters
    ----------
    path : object
        The file that was named.
    present : mapping of str to str
        The names of everything in it and in its companions, with the C++ class if it is known.
    names : iterable of str
        The products among these, without `suffix`.
    suffix : str
        What follows the name of a product, ``_tree`` or ``_group``.
    wanted : Products, optional
        The products that the user wants.
    """
    keys = [key.split(" ")[0] for key in present]
    classes = set(present.values())
    problem, advice = "a product is missing", "name files with clusters of particles in 3D"
    if any("RNTuple" in name for name in classes):
        problem, advice = "an RNTuple file, which LArCV2 does not write", "name LArCV2 files"
    elif classes and all(name.startswith(("TH", "TProfile", "TGraph")) for name in classes):
        problem, advice = "a ROOT file of histograms", "name LArCV2 files"
    elif any(map(_LARCV1.fullmatch, keys)) and not any(map(_LARCV2.fullmatch, keys)):
        problem = "a file of LArCV1, which has no clusters of particles in 3D"
        advice = "name LArCV2 files"
    elif suffix == "_tree":
        advice = "put the file that holds it beside this one, in cluster/ or particle/ as in the "
        advice += "archive"
    return MissingProductError(
        problem,
        file=path,
        field=f"{_missing(names, wanted)}{suffix}",
        found=listed(present) or "an empty file",
        advice=advice,
    )


def _missing(names: Iterable[str], wanted: Products | None) -> str:
    """Name a product that is missing among `names`, in which `choose_products` finds no pair."""
    if wanted is not None:
        return next(product for product in wanted if product not in set(names))
    halves = [re.fullmatch(r"(cluster3d|particle)_(.+)", name) for name in names]
    for half in sorted((h for h in halves if h), key=lambda h: h[2] not in _PREFERRED):
        return f"{'particle' if half[1] == 'cluster3d' else 'cluster3d'}_{half[2]}"
    return f"cluster3d_{_PREFERRED[0]}"


def common_length(lengths: Mapping[str, int], *, file: object) -> int:
    """Return the number of entries of both products; `InputError` if it differs or is zero."""
    if len(set(lengths.values())) > 1:
        raise InputError(
            "the products differ in length",
            file=file,
            expected="as many entries in each",
            found=", ".join(f"{name} {entries}" for name, entries in lengths.items()),
            advice="take both products from the same production",
        )
    (length,) = set(lengths.values())
    if not length:
        raise InputError("there are no events", file=file, advice="leave the file out")
    return length
