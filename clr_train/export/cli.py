"""The command ``clr-export``."""

from __future__ import annotations

from pathlib import Path

import click

from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType, required_path

__all__ = ["export_command"]


@click.command(
    "clr-export",
    cls=Command,
    extra="train",
    epilog="""\b
Examples:
  clr-export --checkpoint runs/first --out encoder/
  clr-export --checkpoint runs/first --out encoder/ --overwrite
""",
)
@required_path(
    "--checkpoint",
    metavar="FILE",
    text="A checkpoint of clr-train, or the folder of a run: its best checkpoint, or the latest if "
    "there is no best.",
)
@required_path("--out", metavar="FOLDER", text="The folder to write.")
@click.option(
    "--shards",
    type=PathType(str),
    multiple=True,
    metavar="FOLDER",
    help="Where the shards of the training are now, to describe them in the encoder's files; may "
    "be repeated.",
    show_default="where they were then",
)
@click.option("--overwrite", is_flag=True, help="Replace an earlier export.")
def export_command(checkpoint: Path, out: Path, shards: tuple[str, ...], overwrite: bool) -> None:
    """Write the encoder of a checkpoint by itself.

    The folder holds the weights (safetensors), a description (config.json) and a model card
    (README.md), as the Hugging Face hub takes them. clr_train.load_encoder loads it without the
    folder of the run and without its shards.
    """
    # Imported here because --help needs no torch.
    from clr_train.export.files import export_encoder, load_encoder

    export_encoder(checkpoint, out, shards=shards or None, overwrite=overwrite)
    encoder = load_encoder(out)
    if encoder.about["training"]["shards"]["sources"] is None:
        click.echo(
            "the shards of the training were not found, so their classes and sources are not in "
            "the encoder's files; if they were moved, export again with --shards",
            err=True,
        )
    click.echo(f"wrote {out}: {encoder!r}")
