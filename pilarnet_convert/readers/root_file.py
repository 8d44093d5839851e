"""ROOT files through uproot: is the file whole, which trees has it, where lie their baskets.

uproot reads the metadata, once a file; `pilarnet_convert.readers.baskets` then fetches baskets by
their place, so that any process can read any range of entries without parsing the metadata again.
"""

from __future__ import annotations

import lzma
import struct
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError

__all__ = [
    "DAMAGE",
    "BasketTable",
    "Layout",
    "TreeIndex",
    "check_header",
    "damaged",
    "index_trees",
    "read_embedded",
]

_FETCH_AGAIN: Final = "fetch or copy the file again"
#: What uproot, the decompressors and our own decoding raise on bytes that make no sense.
DAMAGE: Final = (
    ValueError,
    KeyError,
    IndexError,
    RuntimeError,
    OSError,
    EOFError,
    struct.error,
    zlib.error,
    lzma.LZMAError,
    AssertionError,
    TypeError,
    NotImplementedError,
)


#: A branch holds one number an entry, any number of numbers, or objects.
Layout = Literal["flat", "jagged", "objects"]


@dataclass(frozen=True, kw_only=True)
class BasketTable:
    """Where the baskets of one branch lie, and how their contents are laid out.

    Attributes
    ----------
    name : str
        The leaf name of the branch.
    dtype : str
        The big-endian dtype of its values; empty where each entry is an object of its own.
    entries : int64 array [num_baskets + 1]
        The first entry of each basket, then the end.
    seek, num_bytes : int64 arrays [num_baskets]
        Position and size in the file; -1 for a basket inside the metadata of the tree.
    total_bytes : int
        The size of all baskets before compression.
    """

    name: str
    dtype: str
    entries: NDArray[np.int64]
    seek: NDArray[np.int64]
    num_bytes: NDArray[np.int64]
    total_bytes: int


@dataclass(frozen=True, kw_only=True)
class TreeIndex:
    """A tree of a file: its entries and the tables of the branches that were asked for."""

    file: str
    tree: str
    num_entries: int
    branches: Mapping[str, BasketTable]


def index_trees(
    path: Path, choose: Callable[[Iterable[str]], Mapping[str, Mapping[str, Layout]]]
) -> tuple[str, dict[str, TreeIndex], dict[str, str]]:
    """Look into a ROOT file and locate the baskets of some of its trees.

    Parameters
    ----------
    path : Path
        The file.
    choose : function
        Given the names of everything in the file, names the trees that are wanted, each with the
        leaf names of branches and their layouts. A branch that a tree lacks is left out.

    Returns
    -------
    uuid : str
        The UUID that ROOT gave the file.
    indices : dict of str to TreeIndex
        The trees that are wanted.
    classes : dict of str to str
        The class of everything in the file.

    Raises
    ------
    InputError
        If the file is missing, not a ROOT file, truncated, not closed, or damaged.
    """
    check_header(path)
    try:
        with _opened(path) as file:
            classes = file.classnames(cycle=False, recursive=False)
            indices = {
                name: _index_tree(path, name, file[name], branches)
                for name, branches in choose(classes).items()
            }
            return str(file.file.uuid), indices, classes
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            "cannot be read as a ROOT file", file=path, found=_brief(error), advice=_FETCH_AGAIN
        ) from error


@contextmanager
def _opened(path: str | Path) -> Iterator[Any]:
    """Open a file with uproot, which takes 0.2 s to import and which few workers need."""
    import uproot

    try:
        with uproot.open(path) as file:
            yield file
    except uproot.deserialization.DeserializationError as error:
        raise ValueError(str(error)) from error


def check_header(path: Path) -> None:
    """Check that a file is a ROOT file, closed and whole, by its first bytes.

    Raises
    ------
    InputError
        With what is wrong and what to do.

    Notes
    -----
    The layout of the header and of the first directory is that of ``TFile`` and
    ``TDirectoryFile``, as documented with ROOT.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as stream:
            head = stream.read(512)
    except OSError as error:
        raise InputError(
            "cannot be opened", file=path, found=error.strerror, advice="check the path"
        ) from error
    if head[:4] != b"root":
        raise InputError(
            "not a ROOT file",
            file=path,
            expected="a file that begins with 'root'",
            found=f"{size} bytes that begin with {head[:4]!r}",
            advice="name LArCV2 files of PILArNet",
        )
    try:
        version, begin = struct.unpack(">ii", head[4:12])
        large = version >= 1_000_000
        end, *_ = struct.unpack_from(">q" if large else ">i", head, 12)
        name_bytes, *_ = struct.unpack_from(">i", head, 36 if large else 28)
        # TDirectoryFile: version, two dates, sizes of keys and name, then three positions.
        directory = begin + name_bytes
        wide = struct.unpack_from(">h", head, directory)[0] > 1000
        keys_bytes, *_ = struct.unpack_from(">i", head, directory + 10)
        seek_keys, *_ = struct.unpack_from(
            ">q" if wide else ">i", head, directory + 18 + (16 if wide else 8)
        )
    except struct.error as error:
        raise _truncated(path, expected="a whole header", size=size) from error
    if keys_bytes <= 0 or seek_keys <= 0:
        raise InputError(
            "was not closed by its writer and has no list of its contents",
            file=path,
            advice="wait until it is written, fetch it again, or let ROOT recover it",
        )
    if end > size or seek_keys + keys_bytes > size:
        raise _truncated(path, expected=f"{end} bytes", size=size)


def _truncated(path: Path, *, expected: str, size: int) -> InputError:
    return InputError(
        "truncated", file=path, expected=expected, found=f"{size} bytes", advice=_FETCH_AGAIN
    )


def _index_tree(path: Path, name: str, tree: Any, wanted: Mapping[str, Layout]) -> TreeIndex:
    tables = {}
    for branch in tree.itervalues(recursive=True):
        if branch.name in wanted and not branch.branches:
            tables[branch.name] = _table(path, branch, wanted[branch.name])
    return TreeIndex(file=str(path), tree=name, num_entries=int(tree.num_entries), branches=tables)


def _table(path: Path, branch: Any, layout: Layout) -> BasketTable:
    embedded = len(branch.embedded_baskets)
    free = branch.num_baskets - embedded
    inside = np.full(embedded, -1, np.int64)
    return BasketTable(
        name=branch.name,
        dtype="" if layout == "objects" else _dtype(path, branch, layout),
        entries=np.asarray(branch.entry_offsets, np.int64),
        seek=np.concatenate([np.asarray(branch.member("fBasketSeek")[:free], np.int64), inside]),
        num_bytes=np.concatenate(
            [np.asarray(branch.member("fBasketBytes")[:free], np.int64), inside]
        ),
        total_bytes=int(branch.member("fTotBytes")),
    )


def _dtype(path: Path, branch: Any, layout: Layout) -> str:
    interpretation = branch.interpretation
    content = interpretation.content if layout == "jagged" else interpretation
    if type(content).__name__ != "AsDtype" or content.from_dtype.shape:
        raise InputError(
            "a branch is of another type than in LArCV2",
            file=path,
            field=branch.name,
            expected=f"{layout} numbers",
            found=branch.typename,
            advice="name LArCV2 files of PILArNet",
        )
    return str(content.from_dtype.str)


def read_embedded(
    index: TreeIndex, name: str, number: int
) -> tuple[bytes, NDArray[np.int64] | None]:
    """Let uproot read a basket that lies inside the metadata of its tree."""
    with _opened(index.file) as file:
        basket = _branch(file[index.tree], name).basket(number)
        starts = basket.byte_offsets
        return basket.data.tobytes(), None if starts is None else starts.astype(np.int64)


def _branch(tree: Any, name: str) -> Any:
    return next(branch for branch in tree.itervalues(recursive=True) if branch.name == name)


def damaged(index: TreeIndex, name: str, entry: int, error: BaseException) -> InputError:
    """Describe a fault in the bytes of a branch."""
    return InputError(
        "the file is damaged here",
        file=index.file,
        entry=entry,
        field=f"{index.tree}/{name}",
        found=_brief(error),
        advice=_FETCH_AGAIN,
    )


def _brief(error: BaseException) -> str:
    """Keep the first sentence of an error: uproot's go on for a page."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:160]}"
