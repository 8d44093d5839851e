"""The command ``pilarnet-export``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType, required_path
from pilarnet_convert.errors import counted
from pilarnet_convert.export.exporting import FORMATS, REVISIONS, export
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import open_shards
from pilarnet_convert.storage.remote import AnyPath, as_any_path

__all__ = ["export_command"]


@click.command(
    "pilarnet-export",
    cls=Command,
    epilog="""\b
Examples:
  pilarnet-export shards/ --format parquet --out parquet/
  pilarnet-export shards/ --format pilarnet-m --out pilarnet-m/
  pilarnet-export shards/ --format npz --split test --out npz/
""",
)
@click.argument("shards", type=PathType(as_any_path))
@click.option(
    "--format",
    required=True,
    type=click.Choice(tuple(FORMATS)),
    help="pilarnet-m is HDF5 in the layout of PILArNet-M, one row per event; parquet has one row "
    "per particle, with lists of voxels; npz is one file per particle.",
)
@required_path("--out", metavar="FOLDER", text="The folder to write.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(SPLITS),
    help="Write this split only; may be repeated.",
    show_default="all",
)
@click.option(
    "--revision",
    type=click.Choice(REVISIONS),
    default="v3",
    help="The revision of pilarnet-m: v3 has identities, momenta and vertices; v1 is what the "
    "loader published with PoLAr-MAE reads.",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def export_command(shards: AnyPath, out: Path, splits: tuple[str, ...], **options: Any) -> None:
    """Write the particles of SHARDS for programs that read other formats."""
    opened = open_shards(shards)
    splits = tuple(dict.fromkeys(splits))
    folder = export(opened, out, splits=splits, show_progress=True, **options)
    size = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
    particles = sum(len(opened[split]) for split in splits or SPLITS)
    click.echo(
        f"wrote {folder}: {counted(particles, 'particle')}, {size / 1e6:,.1f} MB in the format "
        f"{options['format']}"
    )
