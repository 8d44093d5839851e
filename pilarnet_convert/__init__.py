"""From LArCV2 files of PILArNet to shards of labelled single particles.

The path of the data::

    readers/ -> particles -> shards/

========== =====================================================================
conversion the conversion as a whole, from inputs to a finished set of shards
config     its options; manifest, what of them is kept with the shards
plan       which events make up which task
task       what a worker does: read, check, split up, write
executors  where tasks run: starting and ending processes
readers    from files of the field to events
particles  from events to single particles: selection, labels, splits
shards     the format: writing, reading, checking and counting
files      everything that is written in the output folder
species    the five classes; ragged, offsets of ragged arrays; tally, counts of clusters
cli        the commands; options, console and errors serve all packages
========== =====================================================================

In a notebook::

    from pilarnet_convert import convert, open_shards

    shards = convert("dlprod_512px_*.root", "shards/", workers=4)
    arrays = shards.splits["train"][0].read(["x", "y", "z", "energy", "offset", "label"])
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
