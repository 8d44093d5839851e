"""What a study compares, read from a TOML file."""

from __future__ import annotations

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from clr_eval.config import EvalConfig
from clr_eval.study.methods import DEFAULT_METHODS, STUDY_METHODS
from clr_train.config import TrainConfig
from clr_train.presets import AUGMENTATION_PRESETS, RECIPES
from clr_train.views.config import DRIFT_AXES
from pilarnet_convert.options import OptionError
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.storage.remote import as_path

__all__ = ["Domain", "StudyConfig", "read_study"]

_KEYS: Final = (
    *("nominal", "target", "domains", "methods", "label-counts", "seeds", "resamples"),
    *("dann-alpha", "train", "fit"),
)
_DOMAIN_KEYS: Final = (
    *("shards", "split", "throw", "drift-axis", "corruption", "level", "rotate"),
)
#: Options of fitting that a study may set; those of clr-eval.
_FIT_KEYS: Final = (
    *("epochs", "min_steps", "batch_size", "lr", "finetune_lr", "augment", "class_weight"),
)


@dataclass(frozen=True, kw_only=True)
class Domain:
    """Particles that methods are judged on.

    Parameters
    ----------
    shards : str
        A folder of shards.
    split : str
        The split of it.
    throw : str or None
        A name of `clr_train.views.detector.THROWS`: the particles as that detector reads them.
    drift_axis : {"x", "y", "z"}
        Along which charge drifts in a throw.
    corruption : str or None
        A name of `clr_eval.corruptions.CORRUPTIONS`: what is then done to the particles.
    level : float
        At which level.
    rotate : bool
        Whether each particle is then turned at random.
    """

    shards: str
    split: str = "test"
    throw: str | None = None
    drift_axis: str = "x"
    corruption: str | None = None
    level: float = 0.0
    rotate: bool = False


@dataclass(frozen=True, kw_only=True)
class StudyConfig:
    """A study.

    Parameters
    ----------
    nominal : str
        Shards of the simulation; labels are learnt from the train split.
    target : str or None
        Shards of the other detector, whose labels are not used.
    domains : mapping of str to Domain
        What methods are judged on; the first is the reference.
    methods : tuple of str
        Names of `clr_eval.study.methods.STUDY_METHODS`.
    label_counts : tuple of int or None
        How many labels are learnt from; None stands for all.
    seeds : tuple of int
        Each fixes which labels are seen, initial weights, order and views.
    dann_alpha : float
        Strength of the reversed gradient of DANN.
    train : TrainConfig
        Options of pretraining; its shards, loss and seed are set for each run.
    fit : EvalConfig
        Options of classifiers and of fine-tuning.
    resamples : int
        Bootstrap resamples of each interval.
    """

    nominal: str
    target: str | None = None
    domains: Mapping[str, Domain]
    methods: tuple[str, ...] = DEFAULT_METHODS
    label_counts: tuple[int | None, ...] = (None,)
    seeds: tuple[int, ...] = (0, 1, 2)
    dann_alpha: float = 1.0
    train: TrainConfig = field(default_factory=TrainConfig)
    fit: EvalConfig = field(default_factory=lambda: EvalConfig(checkpoint="", shards=""))
    resamples: int = 500


def read_study(path: str | Path) -> StudyConfig:
    """Read a study.

    Paths in the file are relative to where the command runs. The file is described in
    ``docs/study.md``.

    Raises
    ------
    OptionError
        The file cannot be read, a key or a name is unknown, or something that a method needs is
        missing.
    """
    path = as_path(path)
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError("no such file", file=path) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OptionError("not a TOML file", file=path, found=error) from None

    def refuse(message: str, **facts: Any) -> OptionError:
        return OptionError(message, file=path, **facts)

    _check_keys(table, _KEYS, "", refuse)
    _check_kinds(table, refuse)
    if "nominal" not in table:
        raise refuse("missing", field="nominal", expected="the folder of the nominal shards")
    methods = tuple(table.get("methods", DEFAULT_METHODS))
    for name in methods:
        if name not in STUDY_METHODS:
            known = ", ".join(STUDY_METHODS)
            raise refuse("unknown method", field="methods", expected=f"some of {known}", found=name)
        if STUDY_METHODS[name].needs_target and "target" not in table:
            raise refuse(
                f"the method {name} needs a target",
                field="target",
                advice="name the shards of the other detector, or leave the method out",
            )
    counts = tuple(_read_count(c, refuse) for c in table.get("label-counts", ("all",)))
    return StudyConfig(
        nominal=table["nominal"],
        target=table.get("target"),
        domains=_read_domains(table, refuse),
        methods=methods,
        label_counts=counts,
        seeds=tuple(table.get("seeds", (0, 1, 2))),
        dann_alpha=float(table.get("dann-alpha", 1.0)),
        train=_read_train(table.get("train", {}), refuse),
        fit=_read_fit(table.get("fit", {}), refuse),
        resamples=int(table.get("resamples", 500)),
    )


Refuse = Callable[..., OptionError]


def _check_keys(
    table: Mapping[str, Any], known: tuple[str, ...], where: str, refuse: Refuse
) -> None:
    for name in table:
        if name not in known:
            listed = ", ".join(known)
            raise refuse("unknown key", field=where + name, expected=f"one of {listed}")


def _check_kinds(table: Mapping[str, Any], refuse: Refuse) -> None:
    """Check that each value is of the kind that its default has."""
    kinds: dict[str, tuple[str, type | tuple[type, ...]]] = {
        "nominal": ("a folder", str),
        "target": ("a folder", str),
        "domains": ("tables such as [domains.nominal]", dict),
        "methods": ("a list of names", list),
        "label-counts": ('a list such as [100, "all"]', list),
        "seeds": ("a list of numbers", list),
        "resamples": ("a number", int),
        "dann-alpha": ("a number", (int, float)),
        "train": ("a table of options", dict),
        "fit": ("a table of options", dict),
    }
    for name, value in table.items():
        expected, kind = kinds[name]
        if not isinstance(value, kind):
            raise refuse("unusable value", field=name, expected=expected, found=value)
    for name in ("methods", "label-counts", "seeds"):
        if name in table and not table[name]:
            raise refuse("an empty list", field=name)
    for seed in table.get("seeds", ()):
        if not isinstance(seed, int) or seed < 0:
            raise refuse("unusable value", field="seeds", expected="0 and more", found=seed)


def _read_count(value: Any, refuse: Refuse) -> int | None:
    if value == "all":
        return None
    if isinstance(value, int) and value >= 5:
        return value
    raise refuse(
        "unusable value", field="label-counts", expected='"all" or 5 and more', found=value
    )


def _read_domains(table: Mapping[str, Any], refuse: Refuse) -> dict[str, Domain]:
    from clr_eval.corruptions import CORRUPTIONS  # these import torch
    from clr_train.views.detector import THROWS

    names = {
        "split": SPLITS,
        "throw": THROWS,
        "drift-axis": DRIFT_AXES,
        "corruption": CORRUPTIONS,
    }
    domains = table.get("domains", {})
    if not domains:
        raise refuse("no domain", field="domains", advice="add a table such as [domains.nominal]")
    found = {}
    for name, keys in domains.items():
        where = f"domains.{name}."
        if not isinstance(keys, dict):
            raise refuse("unusable value", field=where[:-1], expected="a table", found=keys)
        _check_keys(keys, _DOMAIN_KEYS, where, refuse)
        if "shards" not in keys:
            raise refuse("a domain without shards", field=where + "shards")
        for key, known in names.items():
            if key in keys and keys[key] not in known:
                listed = ", ".join(known)
                raise refuse(
                    "unknown name",
                    field=where + key,
                    expected=f"one of {listed}",
                    found=keys[key],
                )
        for key, expected, kind in (("shards", "a folder", str), ("rotate", "true or false", bool)):
            if not isinstance(keys.get(key, False if kind is bool else ""), kind):
                raise refuse(
                    "unusable value", field=where + key, expected=expected, found=keys[key]
                )
        level = keys.get("level", 0.0)
        if not isinstance(level, int | float) or ("corruption" in keys) != ("level" in keys):
            raise refuse(
                "a corruption has a level",
                field=where + "level",
                expected="a number where there is a corruption",
                found=keys.get("level", "none"),
            )
        found[name] = Domain(**{key.replace("-", "_"): value for key, value in keys.items()})
    return found


def _read_train(table: Mapping[str, Any], refuse: Refuse) -> TrainConfig:
    options: dict[str, Any] = {}
    for key, presets in (("augmentations-preset", AUGMENTATION_PRESETS), ("recipe", RECIPES)):
        if key in table:
            if table[key] not in presets:
                listed = ", ".join(presets)
                raise refuse(
                    "unknown name",
                    field=f"train.{key}",
                    expected=f"one of {listed}",
                    found=table[key],
                )
            options |= presets[table[key]]
    known = tuple(TrainConfig.__dataclass_fields__)
    for key, value in table.items():
        if key not in ("augmentations-preset", "recipe"):
            name = key.replace("-", "_")
            _check_keys({name: value}, known, "train.", refuse)
            options[name] = value
    return TrainConfig.from_dict({"final_probe": False, **options})


def _read_fit(table: Mapping[str, Any], refuse: Refuse) -> EvalConfig:
    options = {key.replace("-", "_"): value for key, value in table.items()}
    _check_keys(options, _FIT_KEYS, "fit.", refuse)
    return EvalConfig(checkpoint="", shards="", **options)
