"""Options of a command, declared once as the fields of a frozen dataclass.

A field ``batch_size`` made by `option` is the flag ``--batch-size`` of the command, the key
``batch-size`` of a configuration file and an argument in Python.
"""

from __future__ import annotations

import dataclasses
import math
import operator
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from types import UnionType
from typing import Any, Final, TypeVar, get_args, get_origin, get_type_hints

import numpy as np

from pilarnet_convert.errors import PilarnetError

__all__ = [
    "OptionError",
    "broken_kind",
    "check_folder",
    "check_options",
    "check_parent",
    "documented",
    "flag",
    "limits_in_words",
    "option",
    "read_toml",
]

_Record = TypeVar("_Record", bound=type)


class OptionError(PilarnetError):
    """An option with a value that cannot be used."""

    exit_code = 2


def option(
    default: Any,
    help: str,
    *,
    choices: tuple[str, ...] | None = None,
    least: float | None = None,
    above: float | None = None,
    most: float | None = None,
    below: float | None = None,
    metavar: str | None = None,
    distinct: bool = False,
    may_change: bool = False,
    repeated: bool = False,
) -> Any:
    """Declare a field of a record of options.

    Parameters
    ----------
    default : object
        `dataclasses.MISSING` makes the option required.
    help : str
        One or two sentences for ``--help`` and for the docstring of the record.
    choices : tuple of str, optional
        The values allowed. For a tuple, choices and limits apply to each item.
    least, above, most, below : float, optional
        Values must be at least, above, at most and below these. Without `most`, a whole number
        must fit in 32 bits, and any other number must be finite.
    metavar : str, optional
        What ``--help`` shows in place of a value.
    distinct : bool
        True if a tuple must have at least one item, and each only once.
    may_change : bool
        True if it may have another value when a run is resumed.
    repeated : bool
        True if the flag may be given several times; its value is then a tuple.
    """
    metadata = {
        "help": help,
        "choices": choices,
        "least": least,
        "above": above,
        "most": most,
        "below": below,
        "metavar": metavar,
        "distinct": distinct,
        "may_change": may_change,
        "repeated": repeated,
    }
    return dataclasses.field(default=default, metadata=metadata)


def flag(name: str) -> str:
    """Return the flag of a field: ``batch_size`` becomes ``--batch-size``."""
    return "--" + name.replace("_", "-")


def documented(record: _Record) -> _Record:
    """Add the numpydoc section ``Parameters`` to the docstring of a record of options."""
    hints = get_type_hints(record)
    lines = [(record.__doc__ or "").rstrip(), "", "    Parameters", "    ----------"]
    for field in dataclasses.fields(record):
        hint = hints[field.name]
        kind = str(hint) if get_args(hint) else hint.__name__
        default = "" if field.default is dataclasses.MISSING else f", default {field.default!r}"
        lines += [f"    {field.name} : {kind}{default}", f"        {field.metadata['help']}"]
    record.__doc__ = "\n".join(lines)
    return record


def check_options(record: Any) -> None:
    """Check every field of a record of options; `OptionError` for the first bad value.

    A list in the place of a tuple becomes one, and a number of numpy becomes one of Python, as only
    these can be written to JSON and TOML.
    """
    hints = get_type_hints(type(record))
    for field in dataclasses.fields(record):
        value = _as_python(getattr(record, field.name))
        if isinstance(value, list) and get_origin(hints[field.name]) is tuple:
            value = tuple(map(_as_python, value))
        object.__setattr__(record, field.name, value)
        if expected := broken_kind(hints[field.name], value):
            raise _unusable(field, expected, value)
        if field.metadata["distinct"] and not 0 < len(value) == len(set(value)):
            raise _unusable(field, "one value or more, each once", value)
        for item in value if isinstance(value, tuple) else (value,):
            if item is not None and (expected := _broken_limit(field.metadata, item)):
                raise _unusable(field, expected, item)


def _as_python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _unusable(field: dataclasses.Field[Any], expected: str, found: object) -> OptionError:
    return OptionError("unusable value", field=flag(field.name), expected=expected, found=found)


def broken_kind(hint: Any, value: object) -> str | None:
    """Return the kind that a value should have, or None if it has it."""
    return None if _is_of_kind(hint, value) else _kind_in_words(hint)


def _is_of_kind(kind: Any, value: object) -> bool:
    if isinstance(kind, UnionType):
        return any(_is_of_kind(one, value) for one in get_args(kind))
    if get_origin(kind) is tuple:
        item = get_args(kind)[0]
        return isinstance(value, tuple) and all(_is_of_kind(item, each) for each in value)
    if kind in _NUMBERS:
        return isinstance(value, _NUMBERS[kind]) and not isinstance(value, bool)
    return isinstance(value, get_origin(kind) or kind)


def _kind_in_words(kind: Any) -> str:
    if isinstance(kind, UnionType):
        return " or ".join(filter(None, map(_kind_in_words, get_args(kind))))
    if get_origin(kind) is tuple:
        return f"a list of {_kind_in_words(get_args(kind)[0]).removeprefix('a ')}s"
    return _KINDS.get(kind, "")


def _broken_limit(limits: Mapping[str, Any], value: Any) -> str | None:
    """Return what was expected of a value, or None if it is within its limits."""
    if limits["choices"] is not None and value not in limits["choices"]:
        return "one of " + ", ".join(limits["choices"])
    for name, words, holds in _BOUNDS:
        # Not by the opposite comparison, so that NaN is refused too.
        if limits[name] is not None and not holds(value, limits[name]):
            return f"{words} {limits[name]}"
    if limits["most"] is None and isinstance(value, int | float):
        if isinstance(value, int):
            return None if abs(value) <= _LARGEST else f"at most {_LARGEST}"
        return None if math.isfinite(value) else "a finite number"
    return None


def limits_in_words(limits: Mapping[str, Any], *, several: bool) -> str:
    """Describe what is allowed, except choices that ``--help`` shows in place of a value."""
    if several and limits["choices"]:
        return "some of " + ", ".join(limits["choices"])
    bounds = [(word, limits[name]) for name, word, _ in _BOUNDS]
    return ", ".join(f"{word} {bound}" for word, bound in bounds if bound not in (None, math.inf))


#: The largest number that fits in the 32 bits that libraries use for it.
_LARGEST: Final = 2**31 - 1
#: What is accepted as an int and as a float.
_NUMBERS: Final[Mapping[type, Any]] = {int: int, float: int | float}
_KINDS: Final[Mapping[type, str]] = {
    int: "a whole number",
    float: "a number",
    str: "a string",
    bool: "true or false",
    Path: "a path",
}
_BOUNDS: Final = (
    ("least", "at least", operator.ge),
    ("above", "above", operator.gt),
    ("most", "at most", operator.le),
    ("below", "below", operator.lt),
)


def read_toml(path: Path, *, field: str | None = None) -> dict[str, Any]:
    """Read a TOML file; an `OptionError` names the file, and the option `field` that named it."""
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise OptionError("no such file", file=path, field=field) from None
    except OSError as error:
        raise OptionError(
            "cannot be read", file=path, field=field, expected="a TOML file", found=error.strerror
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise OptionError("not a TOML file", file=path, field=field, found=error) from None


def check_folder(path: Path, *, option: str) -> None:
    """Check that a file can be written to its folder; an `OptionError` names `option`."""
    check_parent(path, option=option)
    if path.is_dir():
        raise OptionError("a folder, not a file", file=path, field=option)


def check_parent(path: Path, *, option: str) -> None:
    """Check that something can be written beside `path`; an `OptionError` names `option`."""
    if not path.parent.is_dir():
        raise OptionError("no such folder", file=path.parent, field=option)
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise OptionError("the folder cannot be written", file=path.parent, field=option)
