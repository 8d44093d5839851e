"""Convert files of PILArNet, and of similar data sets, to shards of labelled single particles.

The path of the data::

    readers/ -> particles -> shards/

========== =====================================================================
conversion the conversion as a whole, from inputs to a finished set of shards
config     its options; manifest: what of them is stored with the shards
plan       which events make up which task
task       what a worker does: read, check, split up, write
runner     runs the tasks, puts their shards in place, writes the root
inputs     indexes all inputs, or checks them
executors  where tasks run: processes of this machine, Dask
readers    from files to events
particles  from events to single particles: selection, labels, splits
tally      counts what became of the clusters
shards     the format: writing, reading, checking and counting
output     where a conversion writes: a folder, or an object store
storage    files of this machine and of remote stores, by ranges of bytes
files      files and folders that appear whole, and locks
species    the five classes; ragged: offsets of ragged arrays
export     single particles in other formats
download   fetches the public data sets
cli        the commands
========== =====================================================================

What serves all packages: options, console, errors, pictures (matplotlib) and pages (HTML).

In a notebook::

    from pilarnet_convert import convert, open_shards

    shards = convert("dlprod_512px_*.root", "shards/", workers=4)
    arrays = shards.splits["train"][0].read(["x", "y", "z", "energy", "offset", "label"])
    particle = shards["test"][0]
"""

import lazy_loader

__version__ = "0.1.0"
# The stub beside this file lists the public names; each is imported at its first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
