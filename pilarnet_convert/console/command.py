"""A click command that ends with one clear line instead of a traceback."""

from __future__ import annotations

import errno
import signal
import sys
import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final

import click

from pilarnet_convert import __version__
from pilarnet_convert.console.run_log import versions
from pilarnet_convert.console.signals import ENDING_SIGNALS, Stopped, stop_at_signal
from pilarnet_convert.errors import PilarnetError, how_to_install
from pilarnet_convert.storage.remote import as_path

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
    """A click command that ends with one clear line instead of a traceback.

    It adds ``-h/--help``, ``--version`` and ``--debug`` to the options it is given. Usage errors
    exit with 2, internal errors with 70, all others with 1. A command that is ended by SIGTERM,
    SIGINT, SIGHUP or SIGUSR1 says so, and exits with the code that a shell reports: 143 for
    SIGTERM.

    Parameters
    ----------
    extra : str, optional
        The extra with everything that the command needs, which is named if a package is missing.
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
        """Run the command as a program. Once it is stopped, further signals are ignored."""
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
        """Read the arguments; turn errors in them into one line and an exit code."""
        with self._one_line(info_name or "", debug="--debug" in args):
            return super().make_context(info_name, args, *more, **extra)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Read the arguments; none may be empty, as an unset variable of a shell would make it."""
        if not ctx.resilient_parsing:
            given, _, _ = self.make_parser(ctx).parse_args(list(args))
            for param in self.params:
                if any(not text.strip() for text in _texts(given.get(param.name or ""))):
                    raise click.BadParameter("the value is empty", ctx=ctx, param=param)
        return super().parse_args(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; turn errors into one line and an exit code."""
        with suppress(AttributeError):  # stdout may be replaced by a stream without `reconfigure`
            sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
        debug = ctx.params.pop("debug")
        with stop_at_signal(), self._one_line(ctx.info_name or "", debug=debug, given=ctx.params):
            result = super().invoke(ctx)
            sys.stdout.flush()  # here, where a closed pipe can be reported
            return result

    @contextmanager
    def _one_line(
        self, name: str, *, debug: bool, given: Mapping[str, Any] = MappingProxyType({})
    ) -> Iterator[None]:
        try:
            yield
        except (click.exceptions.Exit, click.Abort):
            raise
        except (Exception, KeyboardInterrupt) as error:
            if isinstance(error, BrokenPipeError):
                raise  # click ends quietly
            if debug:
                traceback.print_exc()
            if isinstance(error, KeyboardInterrupt):
                stopped = error if isinstance(error, Stopped) else Stopped(signal.SIGINT)
                line, code = str(stopped), 128 + stopped.number
            else:
                line, code = self._explain(error, name, given)
                line = f"error: {line}"
            click.echo(line, err=True)
            sys.exit(code)

    def _explain(self, error: Exception, name: str, given: Mapping[str, Any]) -> tuple[str, int]:
        """Return a line that says why the command ends, and the exit code."""
        if isinstance(error, click.ClickException):
            return f"{_line_of_click(error)}; see {name} --help", error.exit_code
        if isinstance(error, PilarnetError):
            return str(error), error.exit_code
        if isinstance(error, ModuleNotFoundError):
            package = (error.name or "").split(".")[0]
            if package in _EXTRAS:
                extra = self._extra or _EXTRAS[package]
                return f"{name} needs {package}, which is not installed; {how_to_install(extra)}", 1
        if isinstance(error, OSError):
            return self._explain_system(error, given), 1
        if isinstance(error, MemoryError) or _is_lack_of_memory(error):
            return "out of memory; smaller batches, fewer --workers or a larger machine help", 1
        if isinstance(error, UnicodeEncodeError):
            text = error.object[max(0, error.start - 40) : error.end + 40]
            return f"{text!a}: a name that is not UTF-8 cannot be written here; rename it", 1
        text = " ".join(f"{type(error).__name__}: {error}".split())
        return f"internal error: {text}; run again with --debug for the traceback and report it", 70

    def _explain_system(self, error: OSError, given: Mapping[str, Any]) -> str:
        """Describe an error of the system: the file, the option that named it, and the reason."""
        where = [str(error.filename)] if error.filename else []
        for param in self.params:
            named = [as_path(text) for text in _texts(given.get(param.name or "")) if text]
            if where and any(Path(where[0]).is_relative_to(path) for path in named):
                where += [name for name in param.opts[:1] if name.startswith("-")]
                break
        full = error.errno == errno.ENOSPC
        why = "no space left on the device; free some and run again" if full else error.strerror
        return " ".join(": ".join([*where, why or str(error)]).split())


def _is_lack_of_memory(error: Exception) -> bool:
    """Return whether PyTorch, which this package does not import, ran out of memory."""
    name, text = type(error).__name__, str(error)
    return name == "OutOfMemoryError" or (name == "RuntimeError" and "allocate memory" in text)


def _line_of_click(error: click.ClickException) -> str:
    """Write an error of click in our form: the option, and what is wrong with its value."""
    text = " ".join(error.format_message().split())
    # The error of a missing option has no message.
    if isinstance(error, click.BadParameter) and error.message and error.param:
        argument = error.param.human_readable_name.removesuffix("...")
        name = error.param.opts[0] if isinstance(error.param, click.Option) else argument
        text = f"{name}: {' '.join(error.message.split())}"
    return text if text.endswith("..") else text.removesuffix(".")


def _texts(values: Any) -> Iterator[str]:
    """Yield the strings and paths among the values of a parameter."""
    if isinstance(values, str | Path):
        yield str(values)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _texts(value)


def _print_versions(ctx: click.Context, _option: click.Parameter, value: bool) -> None:
    if value:
        click.echo(f"{ctx.info_name} {__version__}")
        for name, version in versions().items():
            click.echo(f"{name} {version}")
        ctx.exit()
