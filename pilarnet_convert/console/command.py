"""A click command that ends in one clear line instead of a traceback."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any, Final

import click

from pilarnet_convert import __version__
from pilarnet_convert.console.run_log import versions
from pilarnet_convert.console.signals import ENDING_SIGNALS, Stopped, stop_at_signal
from pilarnet_convert.errors import PilarnetError, how_to_install

__all__ = ["Command"]

#: The extra that brings a package, by the name that it is imported by.
_EXTRAS: Final = {
    "hdf5plugin": "formats",
    "torch": "train",
    "tomli_w": "train",
    "tensorboard": "train",
    "sklearn": "train",
    "matplotlib": "plot",
    "plotly": "view",
    "pyarrow": "eval",
    "wandb": "wandb",
}


class Command(click.Command):
    """A click command that ends in one clear line instead of a traceback.

    It adds ``-h/--help``, ``--version`` and ``--debug`` to the options it is given. Wrong usage
    has the exit code 2, whoever finds it; other errors have 1. Ended by SIGTERM, SIGINT, SIGHUP or
    SIGUSR1, a command says so, and has the exit code that a shell reports, 143 for SIGTERM.

    Parameters
    ----------
    extra : str, optional
        The extra with all that the command needs, named where a package is missing.
    """

    def __init__(self, *args: Any, extra: str | None = None, **kwargs: Any) -> None:
        kwargs.setdefault("context_settings", {}).update(
            help_option_names=["-h", "--help"], show_default=True, max_content_width=100
        )
        super().__init__(*args, **kwargs)
        self._extra = extra
        self.params += [
            click.Option(["--debug"], is_flag=True, help="Show the traceback of an error."),
            click.Option(
                ["--version"],
                is_flag=True,
                is_eager=True,
                expose_value=False,
                callback=_print_versions,
                help="Show the version, and those of the packages that matter.",
            ),
        ]

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Run the command as a program. Once it is stopped, signals no longer change its end."""
        try:
            return super().__call__(*args, **kwargs)
        except SystemExit as end:
            if end.code in {128 + number for number in ENDING_SIGNALS}:
                for number in ENDING_SIGNALS:
                    signal.signal(number, signal.SIG_IGN)
            raise

    def make_context(
        self, info_name: str | None, args: list[str], *more: Any, **extra: Any
    ) -> click.Context:
        """Read the arguments; turn what is wrong with them into one line and an exit code."""
        with self._one_line(info_name, debug="--debug" in args):
            return super().make_context(info_name, args, *more, **extra)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn what goes wrong into one line and an exit code."""
        with suppress(AttributeError):  # a stream of somebody else's
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        with stop_at_signal(), self._one_line(ctx.info_name, debug=ctx.params.pop("debug")):
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a closed pipe can be told
            return result

    @contextmanager
    def _one_line(self, name: str | None, *, debug: bool) -> Iterator[None]:
        try:
            yield
        except (click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError):
                raise  # click ends quietly
            if debug:
                traceback.print_exc()
            line, code = self._explain(error, name)
            click.echo(line, err=True)
            sys.exit(code)

    def _explain(self, error: BaseException, name: str | None) -> tuple[str, int]:
        """Say in one line why the command ends, and give the exit code."""
        if isinstance(error, KeyboardInterrupt):
            stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
            return str(stopped), 128 + stopped.number
        line, code = self._explain_error(error, name)
        return f"error: {line}", code

    def _explain_error(self, error: BaseException, name: str | None) -> tuple[str, int]:
        if isinstance(error, click.ClickException):
            text = " ".join(error.format_message().split())
            text = text if text.endswith("..") else text.removesuffix(".")
            return f"{text}; see {name} --help", error.exit_code
        if isinstance(error, PilarnetError):
            return str(error), error.exit_code
        if isinstance(error, ModuleNotFoundError):
            package = (error.name or "").split(".")[0]
            if package in _EXTRAS:
                extra = self._extra or _EXTRAS[package]
                return f"{name} needs {package}, which is not installed; {how_to_install(extra)}", 1
        if isinstance(error, OSError):
            where = f"{error.filename}: " if error.filename else ""
            if error.errno == errno.ENOSPC:
                return f"{where}no space left on the device; free some and run again", 1
            return f"{where}{error.strerror or error}", 1
        if isinstance(error, MemoryError):
            return "out of memory; smaller batches, fewer --workers or a larger machine help", 1
        if isinstance(error, UnicodeEncodeError):
            name = error.object[max(0, error.start - 40) : error.end + 40]
            return f"{name!a}: a name that is not UTF-8 cannot be written here; rename it", 1
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"internal error: {text}; run again with --debug for the traceback and report it", 70


def _print_versions(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"{ctx.info_name} {__version__}")
        for name, version in versions().items():
            click.echo(f"{name} {version}")
        ctx.exit()
