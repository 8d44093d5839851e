"""The options of ``clr-embed`` and ``clr-eval``."""

from __future__ import annotations

from dataclasses import MISSING, dataclass

from clr_eval.methods import CLASS_WEIGHTS, CLASSIFYING_PARTS, PARTS
from clr_train.config import DEVICE_HELP
from clr_train.stream.config import SHARDS_HELP
from pilarnet_convert.options import OptionError, check_options, documented, option
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import ShardPaths, path_strings

__all__ = ["EmbedConfig", "EvalConfig", "FitConfig"]


@dataclass(frozen=True, kw_only=True)
class _EncoderConfig:
    """Which encoder is used, on which particles and on which device."""

    checkpoint: str = option(
        MISSING,
        "A checkpoint of clr-train, or the folder of a run: its best checkpoint, or the latest if "
        "there is no best.",
        metavar="FILE",
    )
    shards: ShardPaths = option(MISSING, SHARDS_HELP, metavar="FOLDER", repeated=True)
    device: str = option("auto", DEVICE_HELP, metavar="NAME")
    engine: str = option("auto", "Sparse engine.", choices=("auto", "minkowski", "torch"))
    precision: str = option(
        "fp32",
        "Precision of the network; bf16 is faster on a GPU.",
        choices=("fp32", "bf16"),
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "shards", path_strings(self.shards))
        check_options(self)


@documented
@dataclass(frozen=True, kw_only=True)
class EmbedConfig(_EncoderConfig):
    """The options of `clr_eval.embed` and ``clr-embed``.

    A particle's features depend on no other particle. With other batches, devices or numbers of
    threads they differ by rounding.
    """

    split: str = option(
        "test",
        "The particles to embed; with all, the column split says which split each is in.",
        choices=(*SPLITS, "all"),
    )
    layer: str = option(
        "features",
        "features is the output of the encoder; projection is that of the projection head, which "
        "the loss compares.",
        choices=("features", "projection"),
    )
    batch_size: int = option(
        256,
        "Particles embedded at once; affects memory and speed, and features may differ by "
        "rounding.",
        least=1,
    )


@dataclass(frozen=True, kw_only=True)
class FitConfig:
    """How classifiers are fitted to features, and networks to voxels."""

    class_weight: str = option(
        "balanced",
        "Weights in all fits: balanced gives all classes the same weight, which aims at balanced "
        "accuracy; none gives all particles the same weight, which aims at accuracy.",
        choices=tuple(CLASS_WEIGHTS),
    )
    epochs: int = option(
        20, "Passes over the labelled particles, in fine-tuning and from scratch.", least=1
    )
    min_steps: int = option(
        200, "Least number of steps; with few labels, more passes are made.", least=1
    )
    batch_size: int = option(128, "Particles of a training step.", least=1)
    lr: float = option(1e-3, "Peak learning rate of training from scratch.", above=0, most=10)
    finetune_lr: float = option(3e-4, "Peak learning rate of fine-tuning.", above=0, most=10)
    augment: bool = option(
        True,
        "Whether fine-tuning and training from scratch see augmented views, as pretraining did.",
    )

    def __post_init__(self) -> None:
        check_options(self)


@dataclass(frozen=True, kw_only=True)
class _ReportConfig(_EncoderConfig):
    """What is evaluated, on what, and where the report goes."""

    out: str = option("report", "Folder of the report.", metavar="FOLDER")
    parts: tuple[str, ...] = option(
        tuple(PARTS),
        "What to evaluate, comma-separated; robustness and by-energy evaluate those of probe, "
        "finetune and scratch that are chosen.",
        choices=tuple(PARTS),
        distinct=True,
    )
    fractions: tuple[float, ...] = option(
        (0.01, 0.1, 1.0),
        "Fractions of the labels of the training split to learn from, comma-separated.",
        above=0,
        most=1,
        distinct=True,
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2),
        "Each seed fixes which labels are seen, initial weights, order and views; comma-separated.",
        least=0,
        most=2**31 - 1,
        distinct=True,
    )
    train_split: str = option("train", "The split to learn labels from.", choices=SPLITS)
    test_split: str = option("test", "The split to evaluate on.", choices=SPLITS)
    max_particles: int | None = option(
        None, "Use only this many particles of each split, the first; all unless given.", least=10
    )
    resamples: int = option(
        500, "Bootstrap resamples of the test split for each interval; 0 for no intervals.", least=0
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train_split == self.test_split:
            raise OptionError(
                "methods would be evaluated on the particles whose labels they learnt",
                field="--test-split",
                expected="a split other than --train-split",
                found=self.test_split,
            )
        for name in ("robustness", "by-energy"):
            if name in self.parts and not set(CLASSIFYING_PARTS) & set(self.parts):
                raise OptionError(
                    f"{name} needs a part that classifies",
                    field="--parts",
                    expected=f"one of {', '.join(CLASSIFYING_PARTS)} as well",
                )


@documented
@dataclass(frozen=True, kw_only=True)
class EvalConfig(FitConfig, _ReportConfig):
    """The options of `clr_eval.evaluate` and ``clr-eval``."""

    def __post_init__(self) -> None:
        _ReportConfig.__post_init__(self)

    @property
    def largest_fraction(self) -> float:
        """The fraction of labels at which robustness and binned metrics are evaluated."""
        return max(self.fractions)
