"""The command ``clr-study``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from clr_eval.study.methods import STUDY_METHODS
from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType
from pilarnet_convert.plan import Part

__all__ = ["study_command"]


@click.command(
    "clr-study",
    cls=Command,
    extra="eval",
    epilog="""\b
Methods:
"""
    + "\n".join(f"  {name:15}  {method.title}" for name, method in STUDY_METHODS.items())
    + """

\b
Examples:
  clr-study study.toml --out study/
  clr-study study.toml --out study/ --dry-run
  clr-study study.toml --out study/ --part 2/8

\b
When all parts are done, the command without --part writes the report.
""",
)
@click.argument("study", type=PathType())
@click.option(
    "--out", type=PathType(), default="study", metavar="FOLDER", help="Folder of the study."
)
@click.option(
    "--part",
    type=click.types.FuncParamType(Part.parse),
    default="1/1",
    metavar="I/N",
    help="Compute only every N-th run, from the I-th on, and write no report.",
)
@click.option("--dry-run", is_flag=True, help="Print what would run, and for how long.")
def study_command(study: Path, out: Path, part: Part, dry_run: bool) -> None:
    """Compare methods as the detector departs from the simulation.

    STUDY is a TOML file of domains, methods, label counts and seeds; docs/study.md describes it.
    The folder gets report.html, report.md, report.json and figures. Trained encoders and
    predictions are kept there: the same command continues an interrupted study.
    """
    # Imported here because --help and wrong usage need no torch.
    from clr_eval.study.config import read_study
    from clr_eval.study.study import run_study
    from clr_eval.study.text import format_results

    config = read_study(study)
    report: Any = run_study(config, out=out, part=part, dry_run=dry_run, show_progress=True)
    if report is not None:
        click.echo(f"{format_results(report)}\n")
        click.echo(f"wrote {out / 'report.html'}: open it in a browser")
