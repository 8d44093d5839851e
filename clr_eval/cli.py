"""The commands ``clr-embed`` and ``clr-eval``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clr_eval.config import EmbedConfig, EvalConfig
from clr_eval.methods import PARTS
from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import make_flags, required_path
from pilarnet_convert.errors import counted

__all__ = ["embed_command", "eval_command"]

# The functions of the commands import torch late, so that --help and wrong usage are quick.


@click.command(
    "clr-embed",
    cls=Command,
    extra="eval",
    params=make_flags(EmbedConfig),
    epilog="""\b
Examples:
  clr-embed --checkpoint runs/first --shards shards/ --out test.zarr
  clr-embed --checkpoint runs/first --shards shards/ --split all --out all.h5
""",
)
@required_path(
    "--out",
    metavar="FILE",
    text="The file to write; its ending names the format: .zarr, .parquet, .h5 or .npz.",
)
@click.option("--overwrite", is_flag=True, help="Replace the file of --out.")
def embed_command(**options: Any) -> None:
    """Write the encoder's features of every particle of a split, or of all splits.

    A row for each particle, in the order of the shards: its features, its label, and its origin
    (source, run, subrun, event, entry, cluster, track_id, pdg, num_voxels, energy_init and
    energy_deposit in MeV).
    """
    from clr_eval.embedding.features import embed_to_file

    written = embed_to_file(**options, show_progress=True)
    size = f"{counted(written.particles, 'particle')}, {counted(written.width, 'feature')}"
    click.echo(f"wrote {written.path}: {size}")


@click.command(
    "clr-eval",
    cls=Command,
    extra="eval",
    params=make_flags(EvalConfig),
    epilog="""\b
Parts:
"""
    + "\n".join(f"  {name:10}  {meaning}" for name, meaning in PARTS.items())
    + """

\b
Examples:
  clr-eval --checkpoint runs/first --shards shards/ --out report/
  clr-eval --checkpoint runs/first --shards shards/ --parts probe,map
""",
)
def eval_command(**options: Any) -> None:
    """Report how good the features of a pretrained encoder are.

    The folder gets report.html, report.md, report.json, log.txt and pictures. Intermediate results
    are kept there too: the same command continues an interrupted report, and with changed options
    it computes only what they change.
    """
    config = EvalConfig(**options)

    from clr_eval.report.report import evaluate
    from clr_eval.report.text import format_results

    report = evaluate(config, show_progress=True)
    if report["results"]:
        click.echo(format_results(report))
        click.echo()
    click.echo(f"wrote {Path(config.out) / 'report.html'}: open it in a browser")
