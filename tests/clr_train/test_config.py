"""Options: limits, the TOML file, and what a resumed run may change."""

from __future__ import annotations

import dataclasses
import math
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_train.config import TrainConfig, read_config, write_config
from clr_train.presets import AUGMENTATION_PRESETS, RECIPES
from pilarnet_convert.options import OptionError


@settings(max_examples=15)  # each writes a file and waits for the disk
@given(
    shards=st.text(st.characters(codec="utf-8"), max_size=20),
    lr=st.floats(1e-300, 10),
    augmentations=st.lists(st.sampled_from(["rotate", "throw", "drop"]), max_size=3, unique=True),
    max_steps=st.none() | st.integers(1, 10**9),
    balanced=st.booleans(),
    threshold_mev=st.floats(0, 10),
)
def test_any_configuration_survives_its_file(
    tmp_path_factory: pytest.TempPathFactory,
    shards: str,
    lr: float,
    augmentations: list[str],
    max_steps: int | None,
    balanced: bool,
    threshold_mev: float,
) -> None:
    config = TrainConfig(
        shards=shards,
        lr=lr,
        augmentations=tuple(augmentations),
        num_augmentations=0,
        classes=("muon", "pion"),
        max_steps=max_steps,
        balanced=balanced,
        threshold_mev=threshold_mev,
    )
    path = tmp_path_factory.mktemp("config") / "config.toml"
    write_config(path, config=config)
    assert TrainConfig.from_dict(read_config(path)) == config
    # Read by another reader of TOML, too: every value stands there as itself.
    table = tomllib.loads(path.read_text(encoding="utf-8"))
    assert table["lr"] == lr
    assert table["shards"] == [shards]


@pytest.mark.parametrize("preset", [*AUGMENTATION_PRESETS.values(), *RECIPES.values()])
def test_a_published_list_survives_its_file(tmp_path: Path, preset: dict[str, Any]) -> None:
    config = TrainConfig(shards="shards", **preset)
    write_config(tmp_path / "config.toml", config=config)
    again = TrainConfig.from_dict(read_config(tmp_path / "config.toml"))
    assert again == config
    assert {name: getattr(again, name) for name in preset} == preset


def test_dashes_and_underscores_are_one(tmp_path: Path) -> None:
    path = tmp_path / "c.toml"
    path.write_text("batch-size = 32\nmax_steps = 5\n")
    assert read_config(path) == {"batch_size": 32, "max_steps": 5}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batch_sise = 3", "batch_sise: unknown option; see clr-train --help"),
        ("batch_size = ", "not a TOML file"),
        (None, "no such file"),
        ("epochs = 2.9", r"epochs: unusable value \(expected a whole number, found 2.9\)"),
        ('batch-size = "64"', r"batch_size: .*expected a whole number, found '64'"),
        ("balanced = 1", r"balanced: .*expected true or false, found 1"),
        ("lr = true", r"lr: .*expected a number, found True"),
        ('classes = ["muon", 3]', r"classes: .*expected a list of strings, found \['muon', 3\]"),
    ],
)
def test_a_bad_file_is_refused(tmp_path: Path, text: str | None, message: str) -> None:
    path = tmp_path / "c.toml"
    if text is not None:
        path.write_text(text)
    with pytest.raises(OptionError, match=message) as caught:
        read_config(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (
            {"temperature": 0.0},
            r"--temperature: unusable value \(expected at least 0.001, found 0.0\)",
        ),
        ({"lr": math.nan}, "--lr"),
        ({"batch_size": 1}, r"--batch-size.*at least 2, found 1"),
        ({"drop_path": 0.95}, r"--drop-path.*at most 0.9"),
        ({"loss": "triplet"}, r"--loss.*one of simclr, supervised, found triplet"),
        ({"num_augmentations": 5}, r"--num-augmentations.*at most 4, .*found 5"),
    ],
)
def test_values_outside_their_limits_are_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        TrainConfig(**options)  # type: ignore[arg-type]


def test_lists_are_taken_for_tuples() -> None:
    listed: dict[str, Any] = {"classes": ["muon"], "augmentations": ["drop", "rotate"]}
    config = TrainConfig(**listed)
    assert config == TrainConfig(classes=("muon",), augmentations=("drop", "rotate"))
    assert hash(config.classes)


def test_differences_are_those_that_change_the_run() -> None:
    config = TrainConfig(seed=1)
    other = dataclasses.replace(config, seed=2, out="elsewhere", workers=3, micro_batch_size=8)
    assert config.differences(other) == ["seed"]
