"""The options of a report."""

from __future__ import annotations

from dataclasses import dataclass, fields

from clr_eval.methods import CLASS_WEIGHTS, PARTS
from pilarnet_convert.errors import PilarnetError

__all__ = ["EvalConfig"]

_CLASSIFYING = ("probe", "finetune", "scratch")


@dataclass(frozen=True, kw_only=True)
class EvalConfig:
    """What a report is made of, validated when made.

    Parameters
    ----------
    checkpoint : str
        Of ``clr-train``.
    shards : str
        Of ``pilarnet-convert``.
    out : str
        Folder of the report; a report that is there is made anew from what it has computed.
    train_split, test_split : str
        Labels are learned on one and judged on the other.
    fractions : tuple of float
        Shares of the labels of the training split, above 0 to 1.
    seeds : tuple of int
        Of the labelled particles, of fresh weights, order and views.
    parts : tuple of str
        Names of `clr_eval.methods.PARTS`.
    class_weight : str
        A name of `clr_eval.methods.CLASS_WEIGHTS`.
    epochs, min_steps, batch_size : int
        Of fine-tuning and training from scratch, see `clr_eval.finetune.FitOptions`.
    lr, finetune_lr : float
        Peak learning rates from scratch and of fine-tuning.
    augment : bool
        Whether both see augmented views.
    max_particles : int or None
        Look at the first so many of each split alone.
    resamples : int
        Of the bootstrap; 0 gives no intervals.
    device, engine, precision : str
        As the options of ``clr-train``.

    Raises
    ------
    PilarnetError
        A value outside its limits, or parts that do not go together.
    """

    checkpoint: str
    shards: str
    out: str = "report"
    train_split: str = "train"
    test_split: str = "test"
    fractions: tuple[float, ...] = (0.01, 0.1, 1.0)
    seeds: tuple[int, ...] = (0, 1, 2)
    parts: tuple[str, ...] = tuple(PARTS)
    class_weight: str = "balanced"
    epochs: int = 20
    min_steps: int = 200
    batch_size: int = 128
    lr: float = 1e-3
    finetune_lr: float = 3e-4
    augment: bool = True
    max_particles: int | None = None
    resamples: int = 500
    device: str = "auto"
    engine: str = "auto"
    precision: str = "fp32"

    def __post_init__(self) -> None:
        if not self.fractions or not all(0 < f <= 1 for f in self.fractions):
            _refuse("--fractions", "numbers above 0 to 1", self.fractions)
        if not self.seeds or not all(0 <= s < 2**31 for s in self.seeds):
            _refuse("--seeds", "integers of 0 or more", self.seeds)
        unknown = [part for part in self.parts if part not in PARTS]
        if unknown or not self.parts:
            _refuse("--parts", "some of " + ", ".join(PARTS), ",".join(unknown) or "none")
        if self.class_weight not in CLASS_WEIGHTS:
            _refuse("--class-weight", "one of " + ", ".join(CLASS_WEIGHTS), self.class_weight)
        for name in ("fractions", "seeds", "parts"):
            values = getattr(self, name)
            if len(set(values)) < len(values):
                _refuse(f"--{name}", "each named once", ",".join(map(str, values)))
        for name in ("robustness", "by-energy"):
            if name in self.parts and not set(_CLASSIFYING) & set(self.parts):
                _refuse("--parts", f"with {name} one of {', '.join(_CLASSIFYING)}", name)
        least = {"epochs": 1, "min_steps": 1, "batch_size": 1, "max_particles": 10, "resamples": 0}
        for field in fields(self):
            value = getattr(self, field.name)
            flag = "--" + field.name.replace("_", "-")
            if field.name in least and value is not None and value < least[field.name]:
                _refuse(flag, f"at least {least[field.name]}", value)
            if field.name in ("lr", "finetune_lr") and not value > 0:
                _refuse(flag, "above 0", value)

    @property
    def largest_fraction(self) -> float:
        """The share of labels at which robustness and failures are looked at."""
        return max(self.fractions)


def _refuse(field: str, expected: str, found: object) -> None:
    raise PilarnetError("unusable value", field=field, expected=expected, found=found)
