"""From LArCV2 files of PILArNet to shards of labelled single-particle clouds.

The data take this path, and imports run one way along it::

    plan -> rootfile -> baskets -> decode -> larcv, dlp -> columns -> particles
         -> spool -> encode -> shardwriter -> packedrows, shards

========== =====================================================================
plan       which files make up which source, and how the work is cut
rootfile   uproot: the metadata of ROOT files
baskets    fetching and decompressing what the metadata point at
decode     from bytes to arrays
larcv      the native reader of LArCV2 products
dlp        the same columns through dlp_opendata_api, ROOT and LArCV2
products   what must hold of the products of a source
columns    what every reader delivers, and what must hold of it
particles  clouds of single particles, their labels and splits
spool      clouds on their way to a shard
encode     the bytes of a Zarr array; shardwriter makes whole shards of them
shards     opening and reading shards; packedrows reads what encode writes
conversion the conversion as a whole: outfolder, schedule, work and record serve it
stats      what is in the shards; report shows it, verification checks it
schema     classes, arrays and names; errors, console and processes serve everything
========== =====================================================================

In a notebook::

    from pilarnet_convert import convert, open_shards

    shards = convert("dlprod_512px_*.root", "shards/", workers=4)
    columns = shards.splits["train"][0].read(["x", "y", "z", "energy", "offset", "label"])
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "convert", "open_shards", "statistics", "verify"]

if TYPE_CHECKING:
    from pilarnet_convert.conversion import convert
    from pilarnet_convert.shards.reader import open_shards
    from pilarnet_convert.shards.statistics import statistics
    from pilarnet_convert.shards.verify import verify

_HOMES = {
    "convert": "conversion",
    "open_shards": "shards.reader",
    "statistics": "shards.statistics",
    "verify": "shards.verify",
}


def __getattr__(name: str) -> Any:
    """Import a public function at its first use, so that importing a part costs just that part."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
