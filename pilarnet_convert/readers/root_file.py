"""ROOT files through uproot: their trees, and where the baskets of these lie.

uproot reads the metadata of each file once. `pilarnet_convert.readers.baskets` then fetches baskets
by their position, so that any process can read any range of entries without parsing the metadata
again.
"""

from __future__ import annotations

import lzma
import struct
import threading
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import FETCH_AGAIN, InputError, PilarnetError, brief
from pilarnet_convert.ragged import row_of
from pilarnet_convert.storage.byte_file import RemoteFile
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path

__all__ = [
    "DAMAGE",
    "BasketTable",
    "Layout",
    "TreeIndex",
    "damaged",
    "index_trees",
    "read_embedded",
]

#: Held while a file is open in uproot; reentrant, as a reader may open a file inside another.
_CLASSES: Final = threading.RLock()
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
    ArithmeticError,
    AssertionError,
    AttributeError,
    MemoryError,
    TypeError,
    NotImplementedError,
)


#: An entry of a branch holds one number, any number of numbers, or an object.
Layout = Literal["flat", "jagged", "objects"]


@dataclass(frozen=True, kw_only=True)
class BasketTable:
    """Where the baskets of one branch lie, and how their contents are laid out.

    Attributes
    ----------
    name : str
        The leaf name of the branch.
    dtype : str
        The big-endian dtype of its values; empty if its entries are objects.
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

    def numbers(self, start: int, stop: int) -> range:
        """Return the numbers of the baskets that hold the entries ``start`` to ``stop``."""
        return range(row_of(self.entries, start), int(np.searchsorted(self.entries, stop)))


@dataclass(frozen=True, kw_only=True)
class TreeIndex:
    """A tree of a file: the number of its entries and the tables of the wanted branches.

    `head` is what `check_header` returns: the first bytes of the file, which identify it.
    """

    file: str
    tree: str
    num_entries: int
    branches: Mapping[str, BasketTable]
    head: bytes = b""


def index_trees(
    path: AnyPath,
    choose: Callable[[Iterable[str]], Mapping[str, Mapping[str, Layout]]],
    *,
    head: bytes = b"",
) -> tuple[str, dict[str, TreeIndex], dict[str, str]]:
    """Locate the baskets of some of the trees of a ROOT file.

    Parameters
    ----------
    path : Path or RemotePath
        The file.
    choose : function
        Takes the names of everything in the file and returns the wanted trees, each with the leaf
        names of its wanted branches and their layouts. A branch that a tree lacks is left out.
    head : bytes
        The first bytes of the file, for `TreeIndex`.

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
        If the file is damaged.
    """
    try:
        with _opened(path) as file:
            classes = file.classnames(cycle=False, recursive=False)
            indices = {
                name: _index_tree(path, head, name, file[name], branches)
                for name, branches in choose(classes).items()
            }
            return str(file.file.uuid), indices, classes
    except InputError:
        raise
    except DAMAGE as error:
        raise InputError(
            "cannot be read as a ROOT file", file=path, found=brief(error), advice=FETCH_AGAIN
        ) from error


@contextmanager
def _opened(path: str | AnyPath) -> Iterator[Any]:
    """Open a file with uproot, which takes 0.2 s to import and which few workers need."""
    import uproot

    where = as_any_path(path)
    try:
        with (
            _own_classes(),
            uproot.open(RemoteFile(where) if isinstance(where, RemotePath) else where) as file,
        ):
            yield file
    except (PilarnetError, *DAMAGE):
        raise
    except Exception as error:
        # Of uproot itself, or of a library with which it decompresses.
        raise ValueError(brief(error)) from error


@contextmanager
def _own_classes() -> Iterator[None]:
    """Forget, at the end, the classes that a file describes.

    uproot keeps them for all files that the process reads: after a damaged file, good files could
    be unreadable or be misread.
    """
    import uproot

    with _CLASSES:
        before = dict(uproot.classes)
        versions = {
            name: dict(kind.known_versions)
            for name, kind in before.items()
            if hasattr(kind, "known_versions")
        }
        # TAttMarker version 3 has the members of version 2. Without this entry uproot reads the
        # descriptions of all classes in the file, which is a third of the time of indexing.
        markers = uproot.classes["TAttMarker"].known_versions
        markers.setdefault(3, markers[2])
        try:
            yield
        finally:
            uproot.classes.clear()
            uproot.classes.update(before)
            for name, known in versions.items():
                before[name].known_versions.clear()
                before[name].known_versions.update(known)


def _index_tree(
    path: AnyPath, head: bytes, name: str, tree: Any, wanted: Mapping[str, Layout]
) -> TreeIndex:
    import uproot

    if not isinstance(tree, uproot.TTree):
        raise InputError(
            "not a tree",
            file=path,
            field=name,
            expected="an object of the class TTree",
            found=tree.classname,
            advice="name LArCV2 files",
        )
    tables = {}
    for branch in tree.itervalues(recursive=True):
        if branch.name in wanted and not branch.branches:
            tables[branch.name] = _table(path, branch, wanted[branch.name])
    return TreeIndex(
        file=str(path),
        tree=name,
        num_entries=int(tree.num_entries),
        branches=tables,
        head=head,
    )


def _table(path: AnyPath, branch: Any, layout: Layout) -> BasketTable:
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


def _dtype(path: AnyPath, branch: Any, layout: Layout) -> str:
    content: Any = branch.interpretation
    if layout == "jagged":
        content = getattr(content, "content", None)
    if type(content).__name__ != "AsDtype" or content.from_dtype.shape:
        raise InputError(
            "a branch is of another type than in LArCV2",
            file=path,
            field=f"{branch.tree.name}/{branch.name}",
            expected=f"{layout} numbers",
            found=branch.typename,
            advice="name LArCV2 files",
        )
    return str(content.from_dtype.str)


def read_embedded(
    index: TreeIndex, name: str, number: int
) -> tuple[bytes, NDArray[np.int64] | None]:
    """Let uproot read a basket that lies inside the metadata of its tree.

    Returns
    -------
    data : bytes
        Its uncompressed contents.
    starts : int64 array [entries + 1] or None
        Where each entry begins in `data`, and the end; None if all entries have the same size.
    """
    with _opened(index.file) as file:
        branches = file[index.tree].itervalues(recursive=True)
        basket = next(branch for branch in branches if branch.name == name).basket(number)
        starts = basket.byte_offsets
        return basket.data.tobytes(), None if starts is None else starts.astype(np.int64)


def damaged(index: TreeIndex, name: str, entry: int, error: BaseException) -> InputError:
    """Describe an error in the bytes of a branch."""
    return InputError(
        "the file is damaged here",
        file=index.file,
        entry=entry,
        field=f"{index.tree}/{name}",
        found=brief(error),
        advice=FETCH_AGAIN,
    )
