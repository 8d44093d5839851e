"""The commands ``pilarnet-convert`` and ``pilarnet-stats``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType, TextFile, make_flags
from pilarnet_convert.console.signals import Stopped
from pilarnet_convert.conversion import convert, convert_part
from pilarnet_convert.errors import PilarnetError, counted
from pilarnet_convert.files import named_in_errors
from pilarnet_convert.inputs.check import check_inputs
from pilarnet_convert.options import OptionError
from pilarnet_convert.pictures import check_picture
from pilarnet_convert.readers.sources import read_input_list
from pilarnet_convert.shards.class_plot import plot_classes
from pilarnet_convert.shards.reader import open_shards
from pilarnet_convert.shards.statistics import statistics
from pilarnet_convert.shards.tables import format_table, render
from pilarnet_convert.shards.verify import verify
from pilarnet_convert.storage.remote import AnyPath, as_any_path

__all__ = ["convert_command", "stats_command"]


class _ConvertCommand(Command):
    """Lets ``--input`` take all paths that follow it, as the shell writes them for a glob."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        taking = False
        for arg in args:
            if arg.startswith("-"):
                taking = arg.partition("=")[0] == "--input"
            elif taking and spread[-1] != "--input":
                spread.append("--input")
            spread.append(arg)
        return super().parse_args(ctx, spread)


def _convert(
    inputs: tuple[str, ...],
    input_list: Any,
    out: AnyPath | None,
    check: bool,
    part: str | None,
    resume: bool,
    overwrite: bool,
    **options: Any,
) -> None:
    ctx = click.get_current_context()
    if input_list is not None:
        with input_list:
            inputs += tuple(read_input_list(input_list, name=input_list.name))
    if not inputs:
        raise click.UsageError("Missing option '--input' or '--input-list'.")
    if check:
        _check(inputs, options)
        return
    if out is None:
        raise click.UsageError("Missing option '--out'.")
    options["show_progress"] = True
    if part is not None and overwrite:
        raise OptionError(
            "--part and --overwrite exclude each other",
            advice="choose another --out, for the other parts may have begun",
        )
    try:
        with named_in_errors(out):
            if part is None:
                shards = convert(inputs, out, resume=resume, overwrite=overwrite, **options)
            elif missing := convert_part(inputs, out, part=part, **options):
                click.echo(f"part {part} is done; missing: {', '.join(missing)}")
                return
            else:
                shards = open_shards(out)
    except Stopped as stop:
        how = f"continue with the same command{'' if part else ' and --resume'}"
        raise Stopped(stop.number, f"{how} ({out} keeps what is finished)") from stop
    found = statistics(shards)
    click.echo(render(found, brief=True))
    size = f"{counted(len(shards), 'particle')}, {counted(found.num_shards, 'shard')}"
    click.echo(f"\nwrote {out}: {size}")
    if found.bad_files:
        click.echo(f"error: left out {len(found.bad_files)} of the inputs, see above", err=True)
        ctx.exit(3)


def _check(inputs: tuple[str, ...], options: dict[str, Any]) -> None:
    """Print what is right and wrong with each input."""
    checked = check_inputs(inputs, ConvertConfig(**options), show_progress=True)
    table = {
        "file": [click.format_filename(one.path) for one in checked],
        "schema": [one.source.schema if one.source else "-" for one in checked],
        "events": [f"{one.source.num_entries:,}" if one.source else "-" for one in checked],
        "repeated numbers": [f"{one.repeated_numbers:,}" for one in checked],
        "unit": [one.unit or "-" for one in checked],
        "verdict": [one.verdict for one in checked],
    }
    click.echo(format_table(table))
    faults = [one.fault for one in checked if one.fault]
    for fault in faults:
        click.echo(f"\n{fault}")
    if faults:
        raise PilarnetError(f"{len(faults)} of {len(checked)} inputs cannot be converted")


convert_command = _ConvertCommand(
    "pilarnet-convert",
    callback=_convert,
    help="Convert LArCV2, LArCV3 and PILArNet-M files into shards of labelled single particles.",
    epilog="""\b
Examples:
  pilarnet-convert --input dlprod_512px_*.root --out shards/
  pilarnet-convert --input /data/pilarnet --out shards/ --workers 16
  pilarnet-convert --input /data/pilarnet --out shards/ --workers 16 --resume
  pilarnet-convert --input /data/pilarnet --out shards/ --dask scheduler.json
  pilarnet-convert --input /data/pilarnet --out shards/ --part 3/20
  pilarnet-convert --input /data/pilarnet --check
  pilarnet-convert --input 'root://host//pilarnet/dlprod_*.root' --out shards/
  pilarnet-convert --input-list files.txt --out s3://bucket/shards
""",
    params=[
        click.Option(
            ["--input", "inputs"],
            type=PathType(str),
            metavar="PATH [PATH ...]",
            multiple=True,
            help="LArCV2, LArCV3 and PILArNet-M files, folders of them, or globs, also as URLs: "
            "https://, s3://, root:// (extra remote). May be repeated. Where a source has three "
            "files, as in the archive (dlprod_*, cluster/dlprod_cluster_*, "
            "particle/dlprod_particle_*), name any of them.",
        ),
        click.Option(
            ["--input-list"],
            type=TextFile(encoding="utf-8"),
            metavar="FILE",
            help="A file that names inputs, one per line, with comments after #; - is standard "
            "input.",
        ),
        click.Option(
            ["--out"],
            type=PathType(as_any_path),
            metavar="FOLDER",
            help="The folder to write shards to, or a URL (s3://bucket/prefix).",
        ),
        click.Option(
            ["--check"],
            is_flag=True,
            help="Inspect every input and print what is wrong with it; convert nothing.",
        ),
        *make_flags(ConvertConfig),
        click.Option(
            ["--part"],
            metavar="I/N",
            help="Convert every N-th task only, as one job of an array: 1/N to N/N, in any order "
            "or at the same time. The last one makes the set readable. The same command continues "
            "a part that was stopped.",
        ),
        click.Option(["--resume"], is_flag=True, help="Continue an unfinished conversion."),
        click.Option(
            ["--overwrite"], is_flag=True, help="Replace the shards that are in the folder."
        ),
    ],
)


@click.command(
    "pilarnet-stats",
    cls=Command,
    epilog="""\b
Examples:
  pilarnet-stats shards/
  pilarnet-stats shards/ --format markdown --plot shards.png
  pilarnet-stats shards/ --verify
  pilarnet-stats s3://bucket/shards more-shards/
""",
)
@click.argument("shards", type=PathType(as_any_path), nargs=-1, required=True, metavar="SHARDS...")
@click.option(
    "--format",
    "style",
    type=click.Choice(["table", "json", "csv", "markdown"]),
    default="table",
    help="How to print; csv has the classes only.",
)
@click.option(
    "--plot",
    "picture",
    type=PathType(),
    metavar="FILE",
    help="Also draw counts, voxels and energy of each class into this picture (.png, .pdf, .svg).",
)
@click.option(
    "--verify",
    "check",
    is_flag=True,
    help="Read every shard again, check it against its checksums and the format, and report "
    "every fault.",
)
def stats_command(
    shards: tuple[AnyPath, ...], style: Any, picture: Path | None, check: bool
) -> None:
    """Print the distribution of the particles in SHARDS, and what was rejected and why.

    SHARDS are folders or URLs; several sets are counted together.

    The column "published" holds the fractions of the original study: particles of at least 10
    voxels from 100,000 events at 512 pixels.
    """
    for_program = style in ("json", "csv")  # which reads standard output
    if picture is not None:
        picture = check_picture(picture, option="--plot")
    if check:
        _verify(shards, for_program=for_program)
    opened = open_shards(shards)
    click.echo(render(statistics(opened, show_progress=True), style=style))
    if picture is not None:
        plot_classes(opened, picture)
        click.echo(f"wrote {picture}: {counted(len(opened), 'particle')}", err=for_program)


def _verify(sets: tuple[AnyPath, ...], *, for_program: bool) -> None:
    """Print every fault of the sets, and end with an error if there are any."""
    damaged: list[AnyPath] = []
    num_faults = 0
    for path in sets:
        faults = verify(path, show_progress=True)
        for fault in faults:
            click.echo(fault)
        if faults:
            damaged.append(path)
            num_faults += len(faults)
        else:
            click.echo(f"{path}: every checksum holds", err=for_program)
    if damaged:
        raise PilarnetError(
            counted(num_faults, "fault"),
            file=", ".join(map(str, damaged)),
            advice="convert again with --overwrite",
        )
