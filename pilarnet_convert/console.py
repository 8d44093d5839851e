"""What all commands share: one-line errors, ``--debug``, ``--version``, progress bars."""

from __future__ import annotations

import errno
import sys
import traceback
from collections.abc import Iterable
from typing import Any

import click
from tqdm import tqdm

from pilarnet_convert import __version__
from pilarnet_convert.errors import PilarnetError

__all__ = ["Command", "print_line", "progress_bar"]

INTERRUPTED = 130  # what a shell reports for a process ended by Ctrl-C


class Command(click.Command):
    """A click command that ends in one clear line instead of a traceback.

    It adds ``-h/--help``, ``--version`` and ``--debug`` to the options it is given.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {}).update(
            help_option_names=["-h", "--help"], show_default=True, max_content_width=100
        )
        super().__init__(*args, **kwargs)
        debug = click.Option(["--debug"], is_flag=True, help="Show the traceback of an error.")
        self.params.append(debug)
        click.version_option(__version__, message="%(prog)s %(version)s")(self)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what goes wrong into one line and an exit code."""
        debug = ctx.params.pop("debug")
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if debug:
                traceback.print_exc()
            line, code = _explain(error)
            click.echo(f"error: {line}", err=True)
            sys.exit(code)


def _explain(error: BaseException) -> tuple[str, int]:
    """Say in one line what went wrong, and give the exit code."""
    if isinstance(error, KeyboardInterrupt):
        return "interrupted; what was finished is kept", INTERRUPTED
    if isinstance(error, PilarnetError):
        return str(error), error.exit_code
    if isinstance(error, OSError):
        where = f"{error.filename}: " if error.filename else ""
        if error.errno == errno.ENOSPC:
            return f"{where}no space left on the device; free some and run again", 1
        return f"{where}{error.strerror or error}", 1
    text = " ".join(f"{type(error).__name__}: {error}".split())
    return f"internal error: {text}; run again with --debug for the traceback and report it", 70


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: int | None = None,
    unit: str,
    description: str,
    show: bool = True,
) -> Any:
    """Make a tqdm bar with a rate on standard error, silent when that is not a terminal.

    Parameters
    ----------
    iterable, total : optional
        What to iterate over; the number of units to come.
    unit, description : str
        What is counted, such as ``"event"``; what is being done, in a word or two.
    show : bool
        False hides the bar even on a terminal.
    """
    return tqdm(
        iterable,
        total=total,
        unit=f" {unit}",
        unit_scale=True,
        desc=description,
        dynamic_ncols=True,
        disable=None if show else True,
    )


def print_line(line: str) -> None:
    """Print a line on standard output, above any progress bar."""
    tqdm.write(line)
