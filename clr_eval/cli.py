"""The commands ``clr-embed`` and ``clr-eval``: they parse, call and print."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from clr_eval.config import EvalConfig
from clr_eval.methods import CLASS_WEIGHTS, PARTS
from pilarnet_convert.console import Command
from pilarnet_convert.shards.format import SPLITS

__all__ = ["embed_command", "eval_command"]

_DEFAULTS = EvalConfig(checkpoint="", shards="")


class _Listed(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """Values separated by commas."""

    def __init__(self, kind: Callable[[str], Any], name: str) -> None:
        self.kind = kind
        self.name = name

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        if isinstance(value, tuple):
            return value
        try:
            return tuple(self.kind(word.strip()) for word in value.split(",") if word.strip())
        except ValueError:
            return self.fail(f"{value!r} is not a list such as {self.name}", param, ctx)


def _listed(values: tuple[Any, ...]) -> str:
    return ",".join(map(str, values))


def _common(command: Callable[..., None]) -> Callable[..., None]:
    """Add the options that both commands have."""
    for option in reversed(
        (
            click.option(
                "--checkpoint", required=True, metavar="FILE", help="A checkpoint of clr-train."
            ),
            click.option(
                "--shards",
                required=True,
                metavar="FOLDER",
                help="Shards written by pilarnet-convert.",
            ),
            click.option(
                "--device",
                default="auto",
                help="auto, cpu, cuda or cuda:N; auto takes a GPU if there is one.",
            ),
            click.option(
                "--engine",
                type=click.Choice(["auto", "minkowski", "torch"]),
                default="auto",
                help="Sparse engine.",
            ),
            click.option(
                "--precision",
                type=click.Choice(["fp32", "bf16"]),
                default="fp32",
                help="What the network computes in; bf16 is faster on a GPU.",
            ),
        )
    ):
        command = option(command)
    return command


@click.command(
    "clr-embed",
    cls=Command,
    epilog="""\b
Examples:
  clr-embed --checkpoint runs/first/checkpoints/best.pt --shards shards/ --out test.zarr
  clr-embed --checkpoint best.pt --shards shards/ --split train --out train.parquet
""",
)
@_common
@click.option("--split", type=click.Choice(SPLITS), default="test", help="The particles to embed.")
@click.option(
    "--out",
    required=True,
    type=click.Path(path_type=Path),
    help="The file to write; its ending decides on the kind: .zarr, .parquet, .h5 or .npz.",
)
@click.option(
    "--batch-size",
    type=click.IntRange(min=1),
    default=256,
    help="Particles embedded at once: sets memory and speed, not the result.",
)
@click.option("--overwrite", is_flag=True, help="Replace what --out names.")
def embed_command(**options: Any) -> None:
    """Write what an encoder makes of every particle of a split.

    A row a particle, in the order of the shards: its features before the projection head, its
    label, and where it comes from (source, run, subrun, event, entry, cluster, track_id, pdg,
    num_voxels, energy_init and energy_deposit in MeV).
    """
    from clr_eval.embedding.features import embed_to_file

    click.echo(f"wrote {embed_to_file(**options, show_progress=True)}")


@click.command(
    "clr-eval",
    cls=Command,
    epilog="""\b
Parts:
"""
    + "\n".join(f"  {name:10}  {meaning}" for name, meaning in PARTS.items())
    + """

\b
Examples:
  clr-eval --checkpoint runs/first/checkpoints/best.pt --shards shards/ --out report/
  clr-eval --checkpoint best.pt --shards shards/ --parts probe,map --fractions 1.0
""",
)
@_common
@click.option("--out", default=_DEFAULTS.out, metavar="FOLDER", help="Folder of the report.")
@click.option(
    "--parts",
    type=_Listed(str, "NAME,..."),
    default=_listed(_DEFAULTS.parts),
    help="What to look at, comma-separated; robustness and by-energy judge those of probe, "
    "finetune and scratch that are chosen.",
)
@click.option(
    "--fractions",
    type=_Listed(float, "0.01,0.1,1.0"),
    default=_listed(_DEFAULTS.fractions),
    help="Shares of the labels of the training split to learn from, comma-separated.",
)
@click.option(
    "--seeds",
    type=_Listed(int, "0,1,2"),
    default=_listed(_DEFAULTS.seeds),
    help="Each fixes which labels are seen, fresh weights, order and views; comma-separated.",
)
@click.option(
    "--train-split", type=click.Choice(SPLITS), default="train", help="Labels are learned here."
)
@click.option(
    "--test-split", type=click.Choice(SPLITS), default="test", help="Everything is judged here."
)
@click.option(
    "--max-particles", type=int, help="Look at the first so many particles of each split alone."
)
@click.option(
    "--class-weight",
    type=click.Choice(tuple(CLASS_WEIGHTS)),
    default=_DEFAULTS.class_weight,
    help="What weighs the same in all that is fitted: balanced, every class, which aims at "
    "balanced accuracy; none, every particle, which aims at accuracy.",
)
@click.option(
    "--epochs",
    default=_DEFAULTS.epochs,
    help="Passes over the labelled particles, in fine-tuning and from scratch.",
)
@click.option(
    "--min-steps",
    default=_DEFAULTS.min_steps,
    help="Make more passes where these are fewer steps, as with few labels.",
)
@click.option("--batch-size", default=_DEFAULTS.batch_size, help="Particles of a training step.")
@click.option("--lr", default=_DEFAULTS.lr, help="Peak learning rate from scratch.")
@click.option("--finetune-lr", default=_DEFAULTS.finetune_lr, help="Peak rate of fine-tuning.")
@click.option(
    "--augment/--no-augment",
    default=_DEFAULTS.augment,
    help="Whether fine-tuning and training from scratch see augmented views, as pretraining did.",
)
@click.option(
    "--resamples",
    default=_DEFAULTS.resamples,
    help="Bootstrap resamples of the test split behind each interval.",
)
def eval_command(**options: Any) -> None:
    """Report what a pretrained encoder is worth.

    The folder gets report.json, report.md and pictures. What takes long is kept there too: the
    same command goes on with an interrupted report, and with changed options computes only what
    they change.
    """
    config = EvalConfig(**options)

    # Late, so that --help and wrong usage do not wait for torch.
    from clr_eval.report.report import evaluate

    evaluate(config, show_progress=True)
    click.echo(f"wrote {Path(config.out) / 'report.md'}")
