"""The options of a training run: one frozen record and its checks.

Each field of `TrainConfig` is one flag of ``clr-train`` (``batch_size`` is ``--batch-size``)
and one key of a configuration file. The command is built from the fields' metadata, so that
flag, key, default, limits and help text are said once.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from clr_train.stream.config import StreamConfig
from pilarnet_convert.options import OptionError, documented, option

__all__ = ["SHAPE_OPTIONS", "TrainConfig"]

#: Options that replace, where given, what the size of the model says of the encoder's shape.
SHAPE_OPTIONS: Final = ("stem", "kernel_size", "pooling", "neck", "grn", "drop_path")


@documented
@dataclass(frozen=True, kw_only=True)
class TrainConfig(StreamConfig):
    """The options of a training run, checked when the record is made.

    An `OptionError` is raised for a value outside its limits, and for values that do not go
    together.
    """

    out: str | Path = option(
        "runs/pretrain", "Folder of the run: configuration, metrics, checkpoints."
    )
    val_split: str = option("val", "Split to validate on.")
    test_split: str = option("test", "Split of the final probe.")
    # What a view is.
    augmentations: tuple[str, ...] = option(
        ("rotate", "translate", "shift-energy", "drop"),
        "Augmentations to draw from, comma-separated.",
        fixed=True,
    )
    num_augmentations: int = option(
        2, "How many augmentations each view draws.", least=0, fixed=True
    )
    energy_transform: str = option(
        "log",
        "What the network sees of a voxel's energy. log tells a proton's end from a muon's track; "
        "sqrt-clip is the original study's and saturates at 1 MeV.",
        choices=("log", "sqrt-clip", "none"),
        fixed=True,
    )
    # What is trained.
    model: str = option(
        "atto",
        "Size of the encoder: small is the original study's, for a GPU; tiny, nano, pico, femto "
        "and atto are smaller, the last for a laptop.",
        fixed=True,
    )
    stem: int | None = option(
        None,
        "Voxels along an edge of the cubes that the first layer joins, unless as the size says: "
        "fewer keep more detail, and take more time.",
        least=1,
        fixed=True,
    )
    kernel_size: int | None = option(
        None, "Edge of the depth-wise kernels, odd, unless as the size says.", least=1, fixed=True
    )
    pooling: str | None = option(
        None,
        "How voxels become one vector, unless as the size says; size adds the logarithm of how "
        "many cubes of 1, 2, 4 to 64 voxels the particle touches.",
        choices=("max", "mean", "max+mean", "max+mean+size"),
        fixed=True,
    )
    neck: int | None = option(
        None,
        "Width of a layer after the pooling, whose output is the vector of a particle, unless as "
        "the size says; 0 leaves it out.",
        least=0,
        fixed=True,
    )
    grn: str | None = option(
        None,
        "Global response normalisation over each particle, or over the whole batch as published "
        "(which leaks between particles, and makes a batch in pieces differ from a whole one), "
        "unless as the size says.",
        choices=("particle", "batch"),
        fixed=True,
    )
    drop_path: float | None = option(
        None, "Rate of dropped branches, unless as the size says.", least=0, most=0.9, fixed=True
    )
    loss: str = option(
        "simclr",
        "simclr pairs the two views; supervised takes all particles of a class as positives.",
        choices=("simclr", "supervised"),
        fixed=True,
    )
    temperature: float = option(0.1, "Temperature of the loss.", above=0, fixed=True)
    # How it is trained.
    epochs: int = option(20, "Passes over the training split.", least=1)
    max_steps: int | None = option(
        None, "End after this many steps, if the epochs have not ended before.", least=1
    )
    batch_size: int = option(
        256, "Particles a step contrasts, over all processes together.", least=2, fixed=True
    )
    micro_batch_size: int | None = option(
        None,
        "Particles a process has on its device at once. A larger batch goes through in pieces, "
        "with the same gradients, at the cost of a second forward pass.",
        least=1,
    )
    lr: float | None = option(
        None,
        "Peak learning rate of AdamW; unless given, 0.01 for atto and 0.001 for larger models.",
        above=0,
        fixed=True,
    )
    weight_decay: float = option(
        0.05, "Decay of weights; never of biases and norms.", least=0, fixed=True
    )
    warmup: float = option(
        0.05, "Share of the steps in which the rate rises linearly.", least=0, most=1, fixed=True
    )
    final_lr: float = option(
        0.01, "Share of the peak rate at which the cosine ends.", least=0, most=1, fixed=True
    )
    clip_norm: float = option(1.0, "Norm to which gradients are clipped.", above=0, fixed=True)
    # Where and how precisely.
    device: str = option("auto", "auto, cpu, cuda or cuda:N; auto takes a GPU if there is one.")
    engine: str = option("auto", "Sparse engine.", choices=("auto", "minkowski", "torch"))
    precision: str = option(
        "auto", "auto is bf16 on a GPU and fp32 elsewhere.", choices=("auto", "fp32", "bf16")
    )
    # What is kept and said.
    checkpoint_every: int = option(500, "Steps between checkpoints.", least=1)
    keep_last: int = option(3, "Latest checkpoints to keep, beside the best.", least=1)
    eval_every: int = option(500, "Steps between evaluations on the validation split.", least=1)
    eval_particles: int = option(
        4000, "Most particles of a split that an evaluation looks at.", least=10
    )
    final_probe: bool = option(
        True, "At the end, print what a linear probe reads on the test split beside baselines."
    )
    wandb: str | None = option(None, "Log to this Weights & Biases project too.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.num_augmentations > len(self.augmentations):
            raise OptionError(
                "more augmentations to draw than to draw from",
                field="--num-augmentations",
                expected=f"at most {len(self.augmentations)}",
                found=self.num_augmentations,
            )

    def to_dict(self) -> dict[str, Any]:
        """Return the options as numbers, strings, lists and None."""
        options = dataclasses.asdict(self)
        lists = {name: list(value) for name, value in options.items() if isinstance(value, tuple)}
        return options | lists | {"shards": str(self.shards), "out": str(self.out)}

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> TrainConfig:
        """Make a configuration from what `to_dict` or `read_config` returns."""
        tuples = {name: tuple(value) for name, value in options.items() if isinstance(value, list)}
        return cls(**{**options, **tuples})

    def differences(self, other: TrainConfig) -> list[str]:
        """Name the options that differ and may not change between a run and its continuation."""
        return [
            field.name
            for field in dataclasses.fields(self)
            if field.metadata["fixed"] and getattr(self, field.name) != getattr(other, field.name)
        ]
