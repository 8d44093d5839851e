"""Parquet with one row per particle, its voxels as lists."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import awkward as ak
from pyarrow import parquet

from pilarnet_convert.shards.particle import BLOCK
from pilarnet_convert.shards.reader import Shards
from pilarnet_convert.shards.records import awkward_of

__all__ = ["write_split"]


def write_split(shards: Shards, split: str, folder: Path, advance: Callable[[int], object]) -> None:
    """Write ``SPLIT.parquet``, a row group for each block of particles.

    Parameters
    ----------
    shards, split, folder, advance
        As for `pilarnet_convert.export.npz.write_split`.
    """
    with (folder / f"{split}.parquet").open("wb") as stream, ExitStack() as stack:
        writer: parquet.ParquetWriter | None = None
        for shard in shards.splits[split]:
            for block in shard.blocks(size=BLOCK):
                rows = awkward_of(block, shard.process_names)
                table = ak.to_arrow_table(rows, list_to32=True, extensionarray=False)
                writer = writer or stack.enter_context(parquet.ParquetWriter(stream, table.schema))
                writer.write_table(table)
                advance(len(block["label"]))
