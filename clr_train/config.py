"""The options of a training run, and their TOML file."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_type_hints

from clr_train.site_keys import MAX_KERNEL
from clr_train.stream.config import StreamConfig
from clr_train.views.config import ViewConfig
from pilarnet_convert.files import replace_file
from pilarnet_convert.options import OptionError, broken_kind, documented, option, read_toml
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.storage.remote import as_path

__all__ = ["DEVICE_HELP", "SHAPE_OPTIONS", "TrainConfig", "read_config", "write_config"]

#: Of options that name a device, here and in `clr_eval.config`.
DEVICE_HELP: Final = "auto, cpu, cuda or cuda:N; auto takes a GPU if there is one."

#: Options that replace sizes of the encoder that ``model`` sets.
SHAPE_OPTIONS: Final = ("stem", "kernel_size", "pooling", "neck", "grn", "drop_path")


@documented
@dataclass(frozen=True, kw_only=True)
class TrainConfig(ViewConfig, StreamConfig):
    """The options of a training run, checked when the record is made.

    Each field is a flag of ``clr-train`` and a key of its configuration file. An `OptionError` is
    raised for a value outside its limits, and for values that do not fit together.
    """

    out: str | Path = option(
        "runs/pretrain",
        "Folder of the run: configuration, metrics, checkpoints.",
        metavar="FOLDER",
        may_change=True,
    )
    val_split: str = option(
        "val",
        "Split to validate on; without particles in it there is no validation.",
        choices=SPLITS,
        may_change=True,
    )
    test_split: str = option(
        "test",
        "Split of the final probe; without particles in it there is none.",
        choices=SPLITS,
        may_change=True,
    )
    # Model and loss.
    model: str = option(
        "atto",
        "Size of the encoder: small is the original study's and needs a GPU; tiny, nano, pico, "
        "femto, atto and zepto are ever smaller, and the last two train on a laptop.",
        metavar="NAME",
    )
    stem: int | None = option(
        None,
        "Edge of the cubes that the first layer joins, in voxels; by default that of the model. "
        "Smaller cubes keep more detail and take more time.",
        least=1,
        most=64,
    )
    kernel_size: int | None = option(
        None,
        "Edge of the depth-wise kernels, odd; by default that of the model.",
        least=1,
        most=MAX_KERNEL,
    )
    pooling: str | None = option(
        None,
        "How voxels become one vector; by default as in the model. size adds the logarithm of the "
        "number of cubes of 1, 2, 4 to 64 voxels that the particle touches; robust does the same "
        "with sites and cubes weighted by the energy in them, so that noise hardly changes it.",
        choices=("max", "mean", "max+mean", "max+mean+size", "robust"),
    )
    neck: int | None = option(
        None,
        "Width of a layer after the pooling, whose output is the vector of a particle; by default "
        "that of the model. 0 leaves it out.",
        least=0,
        most=65_536,
    )
    grn: str | None = option(
        None,
        "Global response normalisation over each particle, or over the whole batch as published "
        "(which mixes particles, so that a batch in pieces differs from a whole one); by default "
        "as in the model.",
        choices=("particle", "batch"),
    )
    drop_path: float | None = option(
        None,
        "Rate of dropped branches in the last block; it rises evenly from 0 in the first, so that "
        "zepto, which has one block, drops none. By default that of the model.",
        least=0,
        most=0.9,
    )
    loss: str = option(
        "simclr",
        "simclr pairs the two views; supervised takes all particles of a class as positives.",
        choices=("simclr", "supervised"),
    )
    label_weight: float = option(
        1.0,
        "Share of the class pairs in the loss supervised; the rest is of the two views.",
        least=0,
        most=1,
    )
    unlabelled: str | None = option(
        None,
        "More shards, whose labels are not used: half of the particles of each batch come from "
        "them, each paired with its own other view only. A set with fewer particles gives all of "
        "them to each batch, and the other still its half. None unless given.",
        metavar="FOLDER",
        may_change=True,
    )
    temperature: float = option(0.1, "Temperature of the loss.", least=0.001, most=1000)
    # Training.
    epochs: int = option(20, "Passes over the training split.", least=1, may_change=True)
    max_steps: int | None = option(
        None,
        "End after this many steps if the epochs are longer; no limit unless given.",
        least=1,
        may_change=True,
    )
    batch_size: int = option(256, "Particles of a step, over all processes together.", least=2)
    micro_batch_size: int | None = option(
        None,
        "Particles that a process embeds at once. A larger batch is embedded in pieces, which "
        "gives the same gradients and takes a second forward pass. The whole batch unless given.",
        least=1,
        may_change=True,
    )
    lr: float | None = option(
        None,
        "Peak learning rate of AdamW; unless given, 0.01 for atto and zepto, else 0.001.",
        above=0,
        most=10,
    )
    weight_decay: float = option(
        0.05, "Decay of weights; biases and norms do not decay.", least=0, most=10
    )
    warmup: float = option(
        0.05, "Share of the steps in which the rate rises linearly.", least=0, most=1
    )
    final_lr: float = option(
        0.01, "Share of the peak rate at which the cosine ends.", least=0, most=1
    )
    lr_decay: float | None = option(
        None,
        "Factor of the rate after each epoch, in place of the cosine, which is used unless given.",
        above=0,
        most=1,
    )
    beta2: float = option(0.95, "Decay of AdamW's mean of squared gradients.", least=0, below=1)
    schedule: str = option(
        "stretch",
        "The learning rate when a run is resumed with another number of steps: stretch plans it "
        "over all steps as if from the start, restart lets it rise and fall again over those that "
        "are left, constant keeps the original plan, then stays at its last rate.",
        choices=("stretch", "restart", "constant"),
        may_change=True,
    )
    clip_norm: float = option(
        1.0, "Norm to which gradients are clipped; inf leaves them.", above=0, most=math.inf
    )
    # Device.
    device: str = option(
        "auto",
        DEVICE_HELP,
        metavar="NAME",
        may_change=True,
    )
    engine: str = option(
        "auto", "Sparse engine.", choices=("auto", "minkowski", "torch"), may_change=True
    )
    precision: str = option(
        "auto",
        "auto is bf16 on a GPU that computes in it (compute capability 8.0 or more), else fp32.",
        choices=("auto", "fp32", "bf16"),
        may_change=True,
    )
    # Output.
    checkpoint_every: int = option(500, "Steps between checkpoints.", least=1, may_change=True)
    keep_last: int = option(
        3, "Latest checkpoints to keep, besides the best.", least=1, may_change=True
    )
    eval_every: int = option(
        500, "Steps between evaluations on the validation split.", least=1, may_change=True
    )
    eval_particles: int = option(
        4000,
        "Particles of a split, drawn by the seed, that an evaluation uses.",
        least=10,
        may_change=True,
    )
    images_every: int | None = option(
        None,
        "Steps between pictures in TensorBoard and Weights & Biases: a map of the features, "
        "particles with their nearest neighbours, the confusion matrix of the linear probe. They "
        "take as long as an evaluation and some seconds; by default there are none.",
        least=1,
        may_change=True,
    )
    final_probe: bool = option(
        True, "At the end, score a linear probe on the test split, with baselines.", may_change=True
    )
    wandb: str | None = option(
        None,
        "Also log to this Weights & Biases project; none unless given.",
        metavar="PROJECT",
        may_change=True,
    )

    def __post_init__(self) -> None:
        StreamConfig.__post_init__(self)
        ViewConfig.__post_init__(self)
        if self.kernel_size is not None and self.kernel_size % 2 == 0:
            raise OptionError(
                "unusable value", field="--kernel-size", expected="odd", found=self.kernel_size
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as numbers, strings, lists and None."""
        options = dataclasses.asdict(self)
        lists = {name: list(value) for name, value in options.items() if isinstance(value, tuple)}
        return options | lists | {"out": str(self.out)}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> TrainConfig:
        """Make a configuration from what `to_dict` or `read_config` returns."""
        return cls(**options)

    def differences(self, other: TrainConfig) -> list[str]:
        """List the options that differ and may not change when a run is resumed."""
        return [
            field.name
            for field in dataclasses.fields(self)
            if not field.metadata["may_change"]
            and getattr(self, field.name) != getattr(other, field.name)
        ]


def read_config(path: str | Path) -> dict[str, Any]:
    """Read options by field name from a TOML file; they are not yet checked against their limits.

    Keys are flags without the leading dashes; ``batch-size`` and ``batch_size`` are the same.

    Raises
    ------
    OptionError
        The file does not exist or is not TOML, a key is not an option, or a value is of another
        kind, such as 2.5 for a whole number.
    """
    path = as_path(path)
    table = read_toml(path, field="--config")
    options = {key.replace("-", "_"): value for key, value in table.items()}
    if isinstance(options.get("shards"), str):
        options["shards"] = [options["shards"]]
    for name in [name for name, value in options.items() if value == ""]:
        raise OptionError("the value is empty", file=path, field=name)
    hints = get_type_hints(TrainConfig)
    for name, value in options.items():
        if name not in hints:
            raise OptionError(
                "unknown option", file=path, field=name, advice="see clr-train --help for the names"
            )
        found = tuple(value) if isinstance(value, list) else value
        if expected := broken_kind(hints[name], found):
            raise OptionError(
                "unusable value", file=path, field=name, expected=expected, found=repr(value)
            )
    return options


def write_config(path: str | Path, *, config: TrainConfig) -> None:
    """Write the options as TOML for `read_config`; options that are None are left out."""
    options = {name: value for name, value in config.to_dict().items() if value is not None}
    import tomli_w  # here, because --help and wrong usage need no extra

    replace_file(Path(path), tomli_w.dumps(options).encode())
