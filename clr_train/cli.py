"""The command ``clr-train``; its options are the fields of `TrainConfig`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click
from click.core import ParameterSource

from clr_train.config import TrainConfig, read_config
from clr_train.presets import AUGMENTATION_PRESETS, RECIPES
from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType, make_flags
from pilarnet_convert.console.signals import Stopped
from pilarnet_convert.storage.remote import as_path

__all__ = ["train_command"]

_HELP = """Pretrain a sparse network on particle shards by contrasting two views of each particle.

The folder of the run gets its configuration, metrics, checkpoints and, at the end, scores of
probes. A run that was stopped continues with --resume as if it had not been.
"""

_EPILOG = """\b
Examples:
  clr-train --shards shards/ --out runs/first
  clr-train --shards shards/ --out runs/first --dry-run
  clr-train --out runs/first --resume
  clr-train --shards shards/ --batch-size 4096 --micro-batch-size 256
  clr-train --shards shards/ --augmentations-preset paper-tuned --recipe paper
  clr-train --config runs/first/config.toml --out runs/second --seed 1
  torchrun --nproc-per-node 4 -m clr_train --shards shards/ --batch-size 2048

After SIGTERM, SIGUSR1, SIGHUP or Ctrl-C the run finishes its step, writes a checkpoint and ends;
an evaluation is broken off and repeated when the run continues. Further signals have no effect for
15 seconds; later ones end the run at once.

Exit codes: 0 done, 1 an error of input or training, 2 wrong usage, 70 an internal error,
128 + N stopped by signal N: 130 by Ctrl-C, 143 by SIGTERM; after these continue with --resume.
"""


def _use_file(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
    if value is not None:
        ctx.default_map = {**read_config(value), **(ctx.default_map or {})}


def _preset(flag: str, presets: Mapping[str, Mapping[str, Any]], *, help: str) -> click.Option:
    """Make an option whose value stands for values of others, unless these are given."""

    def use(ctx: click.Context, _option: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.default_map = {**(ctx.default_map or {}), **presets[value]}

    return click.Option(
        [flag],
        type=click.Choice(tuple(presets)),
        is_eager=True,
        expose_value=False,
        callback=use,
        help=help,
    )


def _options() -> list[click.Parameter]:
    return [
        *make_flags(TrainConfig),
        click.Option(
            ["--config"],
            type=PathType(),
            metavar="FILE.toml",
            is_eager=True,
            expose_value=False,
            callback=_use_file,
            help="Read options from a file, such as a run's config.toml. Flags override it.",
        ),
        _preset(
            "--augmentations-preset",
            AUGMENTATION_PRESETS,
            help="Augmentations and strengths by name: three of the original study, and detector, "
            "which imitates another detector. Flags override them.",
        ),
        _preset(
            "--recipe",
            RECIPES,
            help="Batch size, rate and temperature of the original study. Flags override them.",
        ),
        click.Option(
            ["--resume"],
            is_flag=True,
            help="Continue the run in --out from its latest checkpoint, with its options; start "
            "it if there is none.",
        ),
        click.Option(["--overwrite"], is_flag=True, help="Replace an earlier run in --out."),
        click.Option(
            ["--dry-run"],
            is_flag=True,
            help="Print model, parameters, batches and an estimate of memory; train nothing.",
        ),
    ]


def _train_or_describe(*, resume: bool, overwrite: bool, dry_run: bool, **options: Any) -> None:
    ctx = click.get_current_context()
    if resume and overwrite:
        raise click.UsageError("--resume and --overwrite exclude each other")
    saved = as_path(options["out"]) / "config.toml"
    if resume and saved.exists():
        options |= _not_given(ctx, read_config(saved))
    elif resume and not options["shards"]:
        raise click.UsageError(
            f"no run to continue in --out {saved.parent}; name its folder, or give --shards to "
            "start one"
        )
    if not options["shards"]:
        raise click.UsageError("Missing option '--shards'.")
    config = TrainConfig.from_dict(options)

    # Imported here because --help and wrong usage need no torch.
    from clr_train.train import pretrain
    from clr_train.training.dry_run import describe

    if dry_run:
        click.echo(describe(config))
        return
    result = pretrain(config, resume=resume, overwrite=overwrite, show_progress=True)
    if result.stopped_by:
        if result.checkpoint is None and result.step:  # the first process reports it
            ctx.exit(128 + result.stopped_by)
        kept = f"kept {result.checkpoint}" if result.checkpoint else "nothing to keep yet"
        where = f"after step {result.step:,} of {result.total_steps:,}"
        raise Stopped(result.stopped_by, f"{kept}, {where}; continue with --resume")


def _not_given(ctx: click.Context, saved: dict[str, Any]) -> dict[str, Any]:
    """Return those saved options of a run that neither a flag nor --config sets."""
    params = {param.name: param for param in ctx.command.params}
    return {
        name: params[name].type_cast_value(ctx, value)
        for name, value in saved.items()
        if ctx.get_parameter_source(name) == ParameterSource.DEFAULT
    }


train_command = Command(
    "clr-train",
    extra="train",
    params=_options(),
    callback=_train_or_describe,
    help=_HELP,
    epilog=_EPILOG,
)
