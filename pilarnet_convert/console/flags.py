"""Parameters of commands: flags made from a record of options, and paths."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

import click
from click.shell_completion import CompletionItem

from pilarnet_convert.options import flag, limits_in_words
from pilarnet_convert.storage.remote import as_any_path, as_path

__all__ = ["PathType", "TextFile", "make_flags", "required_path"]


class PathType(click.types.FuncParamType):  # type: ignore[type-arg]  # not generic before 8.4
    """A path, which shells complete; a leading ``~`` is the home folder.

    Parameters
    ----------
    make : callable
        Makes the value from the text: by default a local path; `as_any_path` accepts URLs too.
    """

    def __init__(self, make: Callable[[str], Any] = as_path) -> None:
        super().__init__(make)
        self.name = "path"

    def shell_complete(
        self, _ctx: click.Context, _param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """Let the shell complete the name of a file or folder."""
        return [CompletionItem(incomplete, type="file")]


class TextFile(click.File):
    """A text file to read, or ``-`` for standard input; a leading ``~`` is the home folder."""

    def convert(self, value: Any, *context: Any) -> Any:
        """Open the file."""
        return super().convert(os.path.expanduser(value), *context)


def required_path(name: str, *, metavar: str, text: str) -> Callable[[Any], Any]:
    """Return a decorator that adds a required option, a local path, to a command."""
    return click.option(name, required=True, type=PathType(), metavar=metavar, help=text)


def make_flags(record: type) -> list[click.Parameter]:
    """Make the flags of a command from a record of options."""
    hints = get_type_hints(record)
    return [_make_flag(field, hints[field.name]) for field in dataclasses.fields(record)]


def _make_flag(field: dataclasses.Field[Any], hint: Any) -> click.Option:
    name = flag(field.name)
    if hint is bool:
        name += f"/--no-{name.removeprefix('--')}"
    return _Flag(
        [name, field.name],
        type=_type_of(field, hint),
        metavar=field.metadata["metavar"],
        help=field.metadata["help"],
        limits=limits_in_words(field.metadata, several=get_origin(hint) is tuple),
        **_default_of(field),
    )


def _type_of(field: dataclasses.Field[Any], hint: Any) -> Any:
    """Return what click makes of the text of a value."""
    kind = next(kind for kind in (get_args(hint) or (hint,)) if kind is not type(None))
    if get_origin(hint) is tuple and not field.metadata["repeated"]:
        return _Listed(kind)
    if field.metadata["choices"]:
        return click.Choice(field.metadata["choices"])
    if kind is Path:
        return PathType()
    if field.metadata["metavar"] in ("FILE", "FOLDER"):
        return PathType(lambda text: str(as_any_path(text)))
    return kind


def _default_of(field: dataclasses.Field[Any]) -> dict[str, Any]:
    """Return the settings of click for a flag that is not given: required, or its default."""
    is_required, default = field.default is dataclasses.MISSING, field.default
    if field.metadata["repeated"]:
        return {"multiple": True, "required": is_required}
    if is_required:  # without a default: click would take None as one that is given
        return {"required": True}
    if isinstance(default, tuple):
        default = ",".join(map(str, default))
    return {"default": default, "show_default": default not in (None, "")}


class _Flag(click.Option):
    """An option whose help shows its limits beside its default."""

    def __init__(self, *args: Any, limits: str, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._limits = limits

    def get_help_extra(self, ctx: click.Context) -> Any:
        extra = super().get_help_extra(ctx)
        return {**extra, "range": self._limits} if self._limits else extra


class _Listed(click.ParamType):  # type: ignore[type-arg]  # not generic before click 8.4
    """Values separated by commas on the command line, a list in a configuration file."""

    def __init__(self, kind: Callable[[Any], Any]) -> None:
        self.kind = kind
        self.name = {str: "NAME,...", int: "N,...", float: "X,..."}[kind]  # type: ignore[index]

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[Any, ...]:
        words = value.split(",") if isinstance(value, str) else value
        try:
            if self.kind is str and not all(isinstance(word, str) for word in words):
                raise TypeError
            words = [word.strip() if isinstance(word, str) else word for word in words]
            return tuple(self.kind(word) for word in words if word != "")
        except (TypeError, ValueError):
            return self.fail(f"{value!r} is not a list such as {self.name}", param, ctx)
