"""The command ``pilarnet-download``."""

from __future__ import annotations

from pathlib import Path

import click

from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import required_path
from pilarnet_convert.download.datasets import DATASETS
from pilarnet_convert.errors import counted
from pilarnet_convert.shards.format import SPLITS

__all__ = ["download_command"]


@click.command(
    "pilarnet-download",
    cls=Command,
    epilog="\b\nData sets:\n"
    + "".join(f"  {name:16s} {what}\n" for name, what in DATASETS.items())
    + """
\b
Examples:
  pilarnet-download pilarnet-512 --out data/pilarnet --dry-run
  pilarnet-download pilarnet-512 --out data/pilarnet
  pilarnet-download pilarnet-m --split val --out data/pilarnet-m
""",
)
@click.argument("name", type=click.Choice(tuple(DATASETS)), metavar="NAME")
@required_path("--out", metavar="FOLDER", text="The folder for the files.")
@click.option(
    "--split",
    "splits",
    multiple=True,
    type=click.Choice(SPLITS),
    help="Fetch this split of pilarnet-m only; may be repeated.",
    show_default="all",
)
@click.option(
    "--revision",
    metavar="NAME",
    help="A branch of the repository of pilarnet-m, such as v3 or v3_extra, or a commit.",
    show_default="v3",
)
@click.option("--dry-run", is_flag=True, help="List the files and their sizes; fetch nothing.")
def download_command(
    name: str, out: Path, splits: tuple[str, ...], revision: str | None, dry_run: bool
) -> None:
    """Download the public data set NAME into a folder.

    The same command continues a download that was stopped. The size and checksum of each file are
    compared with those that the archive lists.
    """
    # Imported here because --help needs no requests.
    from pilarnet_convert.download.catalogue import list_files
    from pilarnet_convert.download.transfer import fetch_all

    files = list_files(name, splits=splits, revision=revision)
    sizes = [file.size or 0 for file in files]
    total = f"{counted(len(files), 'file')}, {sum(sizes) / 1e6:,.1f} MB"
    if dry_run:
        for file, size in zip(files, sizes, strict=True):
            click.echo(f"{size / 1e6:12,.1f} MB  {file.path}")
        click.echo(total)
        return
    fetch_all(files, out, show_progress=True)
    click.echo(f"wrote {out}: {total}")
