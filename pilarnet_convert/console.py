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
_DEBUG = "pilarnet.debug"


class Command(click.Command):
    """A click command that ends in one clear line instead of a traceback.

    It adds ``-h/--help``, ``--version`` and ``--debug`` to the options it is given.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {}).update(
            help_option_names=["-h", "--help"], show_default=True, max_content_width=100
        )
        super().__init__(*args, **kwargs)
        self.params += [
            click.Option(
                ["--debug"],
                is_flag=True,
                expose_value=False,
                callback=_remember_debug,
                help="Show the traceback of an error.",
            ),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_version,
                help="Show the version and exit.",
            ),
        ]

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what goes wrong into one line and an exit code."""
        debug = bool(ctx.meta.get(_DEBUG))
        try:
            return super().invoke(ctx)
        except (click.ClickException, click.exceptions.Exit, click.Abort):
            raise
        except KeyboardInterrupt:
            _fail("interrupted; what was finished is kept", INTERRUPTED, debug=debug)
        except PilarnetError as error:
            _fail(str(error), error.exit_code, debug=debug)
        except OSError as error:
            _fail(_describe_os_error(error), 1, debug=debug)
        except Exception as error:
            text = " ".join(str(error).split())
            _fail(
                f"internal error: {type(error).__name__}: {text}; run again with --debug for the "
                "traceback and report it",
                70,
                debug=debug,
            )


def _remember_debug(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    ctx.meta[_DEBUG] = value


def _print_version(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"{ctx.info_name} {__version__}")
        ctx.exit()


def _describe_os_error(error: OSError) -> str:
    where = f"{error.filename}: " if error.filename else ""
    if error.errno == errno.ENOSPC:
        return f"{where}no space left on the device; free some and run again"
    return f"{where}{error.strerror or error}"


def _fail(line: str, code: int, *, debug: bool) -> None:
    if debug:
        traceback.print_exc()
    click.echo(f"error: {line}", err=True)
    sys.exit(code)


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
    iterable : iterable, optional
        What to iterate over.
    total : int, optional
        The number of units to come.
    unit : str
        What is counted, e.g. ``"event"``.
    description : str
        What is being done, in a word or two.
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
