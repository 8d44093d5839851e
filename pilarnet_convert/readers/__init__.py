"""From files of the field to events.

============ ===================================================================
sources      which files make up a source: folders, globs, the archive's layout
events       what every reader delivers, and what must hold of it
larcv2       LArCV2 files, read natively
products     which file of a LArCV2 source holds which product (tree)
root_file    ROOT metadata through uproot: where the baskets of a tree lie
baskets      fetching and decompressing baskets
decode       from the bytes of baskets to arrays
dlp          the same events through dlp_opendata_api (dlp_files, dlp_packages)
============ ===================================================================
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from pilarnet_convert.readers.dlp import index_dlp
from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.larcv2 import index_larcv2
from pilarnet_convert.readers.sources import SourceFiles

__all__ = ["READERS", "index_source"]

_INDEXERS: Mapping[str, Callable[..., Source]] = {"native": index_larcv2, "dlp": index_dlp}
#: What ``--reader`` may be.
READERS = tuple(_INDEXERS)


def index_source(files: SourceFiles, *, reader: str) -> Source:
    """Look into the files of a source with one of `READERS`, before its events are read.

    A source that cannot be read, or holds no events, is an `InputError`.
    """
    return _INDEXERS[reader](files.name, files.files)
