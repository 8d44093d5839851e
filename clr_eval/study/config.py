"""What a study compares, read from a TOML file."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

from clr_eval.config import FitConfig
from clr_eval.corruptions import CORRUPTIONS
from clr_eval.study.methods import DEFAULT_METHODS, STUDY_METHODS
from clr_train.config import TrainConfig
from clr_train.presets import AUGMENTATION_PRESETS, RECIPES
from clr_train.views.config import DRIFT_AXES
from clr_train.views.detector import THROWS
from pilarnet_convert.options import OptionError, check_options, documented, option, read_toml
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.storage.remote import as_path

__all__ = ["Domain", "StudyConfig", "read_study"]

_Record = TypeVar("_Record")
_PRESETS = {"augmentations-preset": AUGMENTATION_PRESETS, "recipe": RECIPES}
#: Options of pretraining that each run has its own of.
_SET_FOR_EACH_RUN = ("shards", "unlabelled", "loss", "seed", "out", "final-probe")


@documented
@dataclass(frozen=True, kw_only=True)
class Domain:
    """Particles on which methods are tested."""

    shards: str = option(MISSING, "A folder of shards.")
    split: str = option("test", "The split of the shards.", choices=SPLITS)
    throw: str | None = option(
        None,
        "Name of a throw: the particles are then as that detector reads them.",
        choices=tuple(THROWS),
    )
    drift_axis: str = option(
        "x", "The axis along which charge drifts in a throw.", choices=DRIFT_AXES
    )
    corruption: str | None = option(
        None, "Name of the corruption that is then applied.", choices=tuple(CORRUPTIONS)
    )
    level: float | None = option(None, "The level of the corruption.")
    rotate: bool = option(False, "Whether each particle is then rotated at random.")

    def __post_init__(self) -> None:
        check_options(self)
        if (self.corruption is None) != (self.level is None):
            raise OptionError(
                "corruption and level must be given together",
                field="corruption" if self.corruption is None else "level",
                expected="both or none",
                found="level alone" if self.corruption is None else "corruption alone",
            )
        if self.corruption is not None and self.level is not None:
            limits = CORRUPTIONS[self.corruption]
            if not limits.least <= self.level <= limits.most:
                raise OptionError(
                    "unusable value",
                    field="level",
                    expected=f"{limits.least:g} to {limits.most:g} for {self.corruption}",
                    found=self.level,
                )

    @property
    def summary(self) -> str:
        """Its particles, and what is done to them, in words."""
        words = [f"{self.split} split of {self.shards}"]
        if self.throw is not None:
            words.append(f"detector {self.throw}, drift along {self.drift_axis}")
        if self.corruption is not None:
            words.append(f"{self.corruption} at level {self.level:g}")
        if self.rotate:
            words.append("each particle turned at random")
        return ", ".join(words)


@documented
@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """What a study compares, and how."""

    nominal: str = option(MISSING, "Shards of the simulation; its train split has the labels.")
    target: str | None = option(None, "Shards of the other detector, whose labels are not used.")
    domains: Mapping[str, Domain] = option(
        MISSING, "Particles on which methods are tested; the first domain is the reference."
    )
    methods: tuple[str, ...] = option(
        DEFAULT_METHODS, "The methods to compare.", choices=tuple(STUDY_METHODS), distinct=True
    )
    label_counts: tuple[int | None, ...] = option(
        (None,),
        "Numbers of labels to learn from, in any order; None stands for all.",
        least=5,
        distinct=True,
    )
    seeds: tuple[int, ...] = option(
        (0, 1, 2),
        "Each seed fixes which labels are seen, initial weights, order and views.",
        least=0,
        distinct=True,
    )
    resamples: int = option(500, "Bootstrap resamples for each interval.", least=0)
    dann_alpha: float = option(1.0, "Strength of the reversed gradient of DANN.")
    train: TrainConfig = option(
        MISSING, "Options of pretraining; shards, loss and seed are set for each run."
    )
    fit: FitConfig = option(MISSING, "Options of probes, of fine-tuning and of training.")

    def __post_init__(self) -> None:
        check_options(self)
        counts = sorted(self.label_counts, key=lambda count: (count is None, count))
        object.__setattr__(self, "label_counts", tuple(counts))  # the report ends with the most
        for name in self.methods:
            if STUDY_METHODS[name].needs_target and self.target is None:
                raise OptionError(
                    f"the method {name} needs a target",
                    field="target",
                    advice="name the shards of the other detector, or leave the method out",
                )


def read_study(path: str | Path) -> StudyConfig:
    """Read a study from a file, which ``docs/study.md`` describes.

    Paths in the file are relative to the folder in which the command runs.

    Raises
    ------
    OptionError
        The file cannot be read, a key or a value is not usable, or something that a method needs
        is missing.
    """
    path = as_path(path)
    table = read_toml(path)
    try:
        return _read(table)
    except OptionError as error:
        raise OptionError(error.problem, **{**error.details, "file": path}) from None


def _read(table: Mapping[str, Any]) -> StudyConfig:
    domains = _table(table, "domains")
    if not domains:
        raise OptionError("no domain", field="domains", advice="add a table [domains.nominal]")
    read = {
        "domains": {
            name: _make(Domain, _table(domains, name, at="domains."), at=f"domains.{name}.")
            for name in domains
        },
        "train": _read_train(_table(table, "train")),
        "fit": _make(FitConfig, _table(table, "fit"), at="fit."),
    }
    counts = table.get("label-counts")
    if isinstance(counts, list):
        read["label-counts"] = [None if count == "all" else count for count in counts]
    return _make(StudyConfig, {**table, **read})


def _read_train(table: Mapping[str, Any]) -> TrainConfig:
    for key in table:
        if key.replace("_", "-") in _SET_FOR_EACH_RUN:
            raise OptionError("set for each run", field=f"train.{key}", advice="leave it out")
    options: dict[str, Any] = {"final_probe": False}
    for key, presets in _PRESETS.items():
        if key not in table:
            continue
        if table[key] not in presets:
            raise OptionError(
                "unusable value",
                field=f"train.{key}",
                expected=f"one of {', '.join(presets)}",
                found=table[key],
            )
        options |= presets[table[key]]
    own = {key: value for key, value in table.items() if key not in _PRESETS}
    return _make(TrainConfig, {**options, **own}, at="train.")


def _table(parent: Mapping[str, Any], name: str, *, at: str = "") -> dict[str, Any]:
    """Return the table `name` of another table, empty if it is missing."""
    found = parent.get(name, {})
    if not isinstance(found, dict):
        raise OptionError("unusable value", field=at + name, expected="a table", found=found)
    return found


def _make(record: type[_Record], table: Mapping[str, Any], *, at: str = "") -> _Record:
    """Make a record of options from a table, whose place in the file is `at`."""
    known = {field.name: field for field in fields(record)}  # type: ignore[arg-type]
    options: dict[str, Any] = {}
    for key, value in table.items():
        name = key.replace("-", "_")
        if name not in known:
            listed = ", ".join(known).replace("_", "-")
            raise OptionError("unknown key", field=at + key, expected=f"one of {listed}")
        options[name] = tuple(value) if isinstance(value, list) else value
    for name, field in known.items():
        if field.default is MISSING and name not in options:
            raise OptionError("missing", field=at + name, expected=field.metadata["help"])
    try:
        return record(**options)
    except OptionError as error:
        field_name = (error.details["field"] or "").removeprefix("--")
        raise OptionError(error.problem, **{**error.details, "field": at + field_name}) from None
