"""Errors that a user can cause, each described in one line."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import PurePath
from typing import Any, Final

__all__ = [
    "FETCH_AGAIN",
    "FETCH_OR_SKIP",
    "ConnectionFault",
    "InputError",
    "MissingDependencyError",
    "MissingError",
    "PilarnetError",
    "RemoteError",
    "ShardError",
    "brief",
    "counted",
    "how_to_install",
    "in_words",
    "listed",
    "plural",
    "while_reading",
]

#: What to do about a damaged file.
FETCH_AGAIN: Final = "fetch or copy the file again"
FETCH_OR_SKIP: Final = f"{FETCH_AGAIN}, or leave it out with --skip-bad-files"
_MOST_LISTED: Final = 12


class PilarnetError(Exception):
    """An error with a remedy; the commands print it as one line and exit non-zero.

    Parameters
    ----------
    problem : str
        What is wrong, as a clause without a full stop.
    file : object, optional
        The path or URL of the file or folder it was found in.
    entry : int, optional
        The event, by its index in the file.
    field : str, optional
        The tree, branch, array or option concerned.
    expected, found : object, optional
        What should have been there, and what was.
    advice : str, optional
        What the user can do about it.
    """

    exit_code = 1

    def __init__(
        self,
        problem: str,
        *,
        file: object = None,
        entry: int | None = None,
        field: str | None = None,
        expected: object = None,
        found: object = None,
        advice: str | None = None,
    ) -> None:
        self.problem = problem
        self.details: dict[str, Any] = {
            "file": None if file is None else str(file),
            "entry": None if entry is None else int(entry),
            "field": field,
            "expected": None if expected is None else in_words(expected),
            "found": None if found is None else in_words(found),
            "advice": advice,
        }
        super().__init__(self._line())

    def _line(self) -> str:
        d = self.details
        entry = None if d["entry"] is None else f"entry {d['entry']}"
        line = ": ".join([part for part in (d["file"], entry, d["field"]) if part] + [self.problem])
        facts = [f"{name} {d[name]}" for name in ("expected", "found") if d[name] is not None]
        if facts:
            line += f" ({', '.join(facts)})"
        if d["advice"]:
            line += f"; {d['advice']}"
        return " ".join(line.split())

    def by_name(self) -> str:
        """Return the line with the name of the file alone, wherever the file lies."""
        file = self.details["file"]
        named = {**self.details, "file": None if file is None else PurePath(file).name}
        return str(PilarnetError(self.problem, **named))

    def __reduce__(self) -> tuple[Any, ...]:
        # Keyword-only arguments do not survive the default pickling between processes.
        return partial(type(self), self.problem, **self.details), ()


class InputError(PilarnetError):
    """An input file, or several of them, that cannot be converted."""


class ShardError(PilarnetError):
    """A set of shards that is missing, damaged, unfinished or of another format."""


class RemoteError(PilarnetError):
    """A remote file cannot be read or written, and repeating the request does not help.

    Attributes
    ----------
    position : int
        The first byte that could not be read, 0 if that is not known.
    """

    position = 0


class MissingError(RemoteError):
    """A remote file or folder does not exist."""


class ConnectionFault(RemoteError):
    """A request failed in all tries."""


def while_reading(error: RemoteError, *, entry: int | None = None) -> PilarnetError:
    """Turn the error of a remote file into an `InputError`, which may name an event.

    A `ConnectionFault` stays one, as the file is not at fault.
    """
    kind = ConnectionFault if isinstance(error, ConnectionFault) else InputError
    return kind(error.problem, **{**error.details, "entry": entry})


class MissingDependencyError(PilarnetError):
    """An optional package that the chosen option needs is not installed."""


def in_words(value: object) -> str:
    """Write a value for a message: a mapping as its names and values, a list as its items."""
    try:
        return _in_words(value)
    except RecursionError:
        return "values nested too deeply"


def _in_words(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_in_words(item)}" for name, item in value.items()) or "nothing"
    if isinstance(value, list | tuple):
        return ", ".join(map(_in_words, value)) or "nothing"
    return "none" if value is None else str(value)


def counted(number: int, noun: str) -> str:
    """Write how many things there are, such as ``1 shard`` or ``3,028 particles``."""
    return f"{number:,} {noun if number == 1 else plural(noun)}"


def plural(noun: str) -> str:
    """Return the plural of a word; a unit, such as ``MB``, has none."""
    return f"{noun}s" if noun.islower() else noun


def listed(names: Iterable[str]) -> str:
    """List names in one line, at most a dozen of them."""
    every = list(names)
    more = len(every) - _MOST_LISTED
    return ", ".join(every[:_MOST_LISTED]) + (f" and {more} more" if more > 0 else "")


def brief(error: BaseException, *, printed: str = "") -> str:
    """Return the type of an error and, in one line, the beginning of its message.

    `printed` is what was printed before the error was raised; it is put before the message.
    """
    text = " ".join(f"{printed} {error}".split())
    return ": ".join(filter(None, [type(error).__name__, text[:160]]))


def how_to_install(extra: str) -> str:
    """Return the advice to install the packages of an extra."""
    return f"pip install 'pilarnet-clr[{extra}]', or in a checkout pip install '.[{extra}]'"
