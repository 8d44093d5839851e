"""Options declared once: limits, flags and docstring of a small record."""

from __future__ import annotations

import dataclasses
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import make_flags
from pilarnet_convert.options import (
    OptionError,
    check_options,
    documented,
    flag,
    option,
)


@documented
@dataclass(frozen=True, kw_only=True)
class Baking:
    """How to bake bread."""

    oven: Path = option(dataclasses.MISSING, "Folder of the oven.", metavar="FOLDER")
    flour_kg: float = option(0.5, "Flour of a loaf.", above=0, most=2.0)
    loaves: int | None = option(None, "Loaves to bake; all unless given.", least=1)
    shape: str = option("round", "Shape of the loaf.", choices=("round", "long"))
    seeds: tuple[str, ...] = option(("poppy",), "What to sprinkle.", choices=("poppy", "sesame"))
    hours: tuple[int, ...] = option((6, 7), "When to bake.", least=0, most=23)
    shares: tuple[float, ...] = option((), "Shares of each customer.", least=0)
    salted: bool = option(True, "Add salt.")
    frozen: bool = option(False, "Freeze the loaves.")

    def __post_init__(self) -> None:
        check_options(self)


def bake(*arguments: str) -> tuple[Baking | None, int, str]:
    made: list[Baking] = []
    command = Command(
        "bake", params=make_flags(Baking), callback=lambda **values: made.append(Baking(**values))
    )
    result = CliRunner().invoke(command, arguments)
    return (made or [None])[0], result.exit_code, result.output


def test_flags_give_the_record_with_its_types() -> None:
    made, code, output = bake("--oven", "a/b")
    assert (code, output) == (0, "")
    assert made == Baking(oven=Path("a/b"))
    made, code, output = bake(
        *("--oven=x", "--flour-kg=1", "--loaves=3", "--shape=long", "--seeds=poppy, sesame"),
        *("--hours=8", "--shares=0.25,1", "--no-salted", "--frozen"),
    )
    assert (code, output) == (0, "")
    assert made == Baking(
        oven=Path("x"),
        flour_kg=1.0,
        loaves=3,
        shape="long",
        seeds=("poppy", "sesame"),
        hours=(8,),
        shares=(0.25, 1.0),
        salted=False,
        frozen=True,
    )
    assert isinstance(made.flour_kg, float)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--oven'"),
        (["--oven=x", "--shape=flat"], "'flat' is not one of 'round', 'long'"),
        (["--oven=x", "--hours=6,noon"], "'6,noon' is not a list such as N,..."),
        (
            ["--oven=x", "--seeds=sand"],
            "error: --seeds: unusable value (expected one of poppy, sesame, found sand)",
        ),
        (["--oven=x", "--flour-kg=0"], "--flour-kg: unusable value (expected above 0, found 0.0)"),
    ],
)
def test_wrong_usage_has_exit_code_2(arguments: list[str], message: str) -> None:
    made, code, output = bake(*arguments)
    assert (made, code) == (None, 2)
    assert message in output
    assert "Traceback" not in output


@given(
    flour=st.floats(),
    loaves=st.none() | st.integers() | st.integers(2**31 - 2, 2**31 + 1),
    hours=st.lists(st.integers(-5, 30)).map(tuple),
)
def test_a_record_is_made_exactly_of_values_within_their_limits(
    flour: float, loaves: int | None, hours: tuple[int, ...]
) -> None:
    values: dict[str, Any] = {"flour_kg": flour, "loaves": loaves, "hours": hours}
    broken = [
        name
        for name, fits in (
            ("flour_kg", not math.isnan(flour) and 0 < flour <= 2),
            ("loaves", loaves is None or 1 <= loaves < 2**31),
            ("hours", all(0 <= hour <= 23 for hour in hours)),
        )
        if not fits
    ]
    if not broken:
        assert Baking(oven=Path("x"), **values).hours == hours
        return
    with pytest.raises(OptionError) as caught:
        Baking(oven=Path("x"), **values)
    assert caught.value.details["field"] == flag(broken[0])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"oven": 3}, "--oven: unusable value (expected a path, found 3)"),
        ({"flour_kg": "much"}, "--flour-kg: unusable value (expected a number, found much)"),
        ({"loaves": 2.5}, "--loaves: unusable value (expected a whole number, found 2.5)"),
        ({"loaves": True}, "--loaves: unusable value (expected a whole number, found True)"),
        ({"shape": None}, "--shape: unusable value (expected a string)"),
        ({"hours": (6, "noon")}, "--hours: unusable value (expected a list of whole numbers"),
        ({"hours": 6}, "--hours: unusable value (expected a list of whole numbers, found 6)"),
        ({"shares": (math.inf,)}, "--shares: unusable value (expected a finite number, found inf)"),
        ({"salted": 1}, "--salted: unusable value (expected true or false, found 1)"),
    ],
)
def test_values_of_another_kind_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError) as caught:
        Baking(**{"oven": Path("x"), **values})
    assert str(caught.value).startswith(message)


def test_numbers_of_numpy_are_numbers() -> None:
    made = Baking(
        oven=Path("x"),
        flour_kg=np.float32(0.5),
        loaves=np.int64(3),
        hours=[np.uint8(8)],  # type: ignore[arg-type]
        salted=np.bool_(False),  # type: ignore[arg-type]
    )
    values = made.flour_kg, made.loaves, made.hours, made.salted
    assert json.dumps(values) == "[0.5, 3, [8], false]"


def test_a_list_in_a_file_is_taken_and_something_else_is_refused() -> None:
    hours = next(param for param in make_flags(Baking) if param.name == "hours")
    context = click.Context(Command("bake"))
    assert hours.type_cast_value(context, [5, 6]) == (5, 6)
    with pytest.raises(click.BadParameter, match="not a list"):
        hours.type_cast_value(context, 5)
    seeds = next(param for param in make_flags(Baking) if param.name == "seeds")
    with pytest.raises(click.BadParameter, match="not a list"):
        seeds.type_cast_value(context, [5])


def test_help_and_docstring_say_name_default_and_meaning() -> None:
    _, _, output = bake("--help")
    text = " ".join(output.split())
    for words in (
        "--oven FOLDER Folder of the oven. [required]",
        "--flour-kg FLOAT Flour of a loaf. [default: 0.5; above 0, at most 2.0]",
        "--loaves INTEGER Loaves to bake; all unless given. [at least 1] --shape",
        "--seeds NAME,... What to sprinkle. [default: poppy; some of poppy, sesame]",
        "--hours N,... When to bake. [default: 6,7; at least 0, at most 23]",
        "--salted / --no-salted Add salt. [default: salted]",
        "--frozen / --no-frozen Freeze the loaves. [default: no-frozen]",
    ):
        assert words in text
    lines = (Baking.__doc__ or "").splitlines()
    assert lines[:6] == [
        "How to bake bread.",
        "",
        "    Parameters",
        "    ----------",
        "    oven : Path",
        "        Folder of the oven.",
    ]
    assert "    loaves : int | None, default None" in lines
    assert "    hours : tuple[int, ...], default (6, 7)" in lines
