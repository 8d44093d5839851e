"""The conversion: find sources, plan tasks, run them, collect their records, write the root."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console.progress import print_line
from pilarnet_convert.executors import running_on
from pilarnet_convert.inputs.indexing import index_inputs, readable_sources
from pilarnet_convert.options import OptionError
from pilarnet_convert.output.folder import OutputFolder
from pilarnet_convert.output.output import Output
from pilarnet_convert.output.remote import RemoteOutput
from pilarnet_convert.plan import Part
from pilarnet_convert.readers.sources import find_sources
from pilarnet_convert.runner import TaskRunner
from pilarnet_convert.shards.reader import Shards, open_shards
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path

if TYPE_CHECKING:
    from distributed import Client

__all__ = ["convert", "convert_part"]


def convert(
    inputs: str | AnyPath | Sequence[str | AnyPath],
    out: str | AnyPath,
    *,
    executor: Executor | Client | None = None,
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = False,
    **options: Any,
) -> Shards:
    """Convert files into shards of labelled particles, and open these.

    Parameters
    ----------
    inputs : path or sequence of paths
        LArCV2, LArCV3 and PILArNet-M files, folders of them, or globs, also as URLs.
    out : path
        The folder to write, or a URL, such as ``s3://bucket/prefix``.
    executor : Executor or distributed.Client, optional
        Where the tasks run; by default in ``workers`` processes of this machine.
    resume : bool
        Continue an unfinished conversion of the same inputs and options.
    overwrite : bool
        Replace the shards that are there.
    show_progress : bool
        Show a bar on the terminal.
    **options
        The fields of `pilarnet_convert.ConvertConfig`; ``splits`` may be a mapping.

    Raises
    ------
    InputError
        If an input cannot be converted.
    OptionError
        If an option has a value that cannot be used.
    PilarnetError
        If the output folder is in use, a worker ended, or no Dask scheduler answers.
    """
    if resume and overwrite:
        raise OptionError("--resume and --overwrite exclude each other", advice="choose one")
    folder = _output_at(as_any_path(out))
    folder.check(resume=resume, overwrite=overwrite)
    with _indexed(inputs, folder, executor, show_progress, options) as runner:
        if resume and runner.was_finished():
            return open_shards(folder.path)
        with folder.locked():
            if overwrite or (resume and folder.manifest() is None):
                folder.clear()
            elif not resume:
                folder.check_again()
            runner.begin()
            with _cleared_if_nothing_is_done(folder), _unless_others_finish(runner):
                runner.finish(runner.run(runner.tasks))
    return open_shards(folder.path)


def convert_part(
    inputs: str | AnyPath | Sequence[str | AnyPath],
    out: str | AnyPath,
    *,
    part: str,
    executor: Executor | Client | None = None,
    show_progress: bool = False,
    **options: Any,
) -> list[str]:
    """Convert every N-th task of a conversion, as a job of an array does.

    The parts may run in any order or at the same time, on different machines that share the
    output folder. The one that ends last makes the set readable. A part that was stopped
    continues when it is called again; `convert` with ``resume=True`` does what is missing.

    The parameters that are not listed are those of `convert`, the same for all parts.

    Parameters
    ----------
    part : str
        Which part, such as ``"2/5"``: from ``"1/5"`` to ``"5/5"``.

    Returns
    -------
    list of str
        The parts that are missing; without any, the set is finished and `open_shards` opens it.

    Raises
    ------
    OptionError, InputError, PilarnetError
        As from `convert`.
    """
    mine = Part.parse(part)
    folder = _output_at(as_any_path(out))
    folder.check(resume=True, overwrite=False)
    with _indexed(inputs, folder, executor, show_progress, options) as runner:
        if runner.was_finished():
            return []
        with _unless_others_finish(runner):
            runner.begin()
            if runner.was_finished():  # by the other parts, just before
                return []
            runner.run(mine.select(runner.tasks))
            if missing := {task.number for task in runner.tasks} - folder.done():
                return [str(other) for other in mine.missing(missing)]
            runner.finish(runner.run(runner.tasks))
    return []


@contextmanager
def _unless_others_finish(runner: TaskRunner) -> Iterator[None]:
    """Give up without an error if other processes finish the set meanwhile.

    They remove the folder in which unfinished shards are written.
    """
    try:
        yield
    except FileNotFoundError:
        if not runner.was_finished():
            raise


@contextmanager
def _cleared_if_nothing_is_done(folder: Output[Any]) -> Iterator[None]:
    """Leave nothing behind if the conversion fails before a task is done."""
    try:
        yield
    except FileNotFoundError:  # the folder was taken over: what is there is not ours
        raise
    except Exception:
        if not folder.done():
            folder.clear()
            folder.remove_working()
        raise


def _output_at(path: AnyPath) -> Output[Any]:
    if not isinstance(path, RemotePath):
        return OutputFolder(path)
    if "?" in path.url:
        raise OptionError(
            "the URL of a folder has no query",
            field="--out",
            found=path,
            advice="leave out the question mark and what follows it",
        )
    return RemoteOutput(path)


@contextmanager
def _indexed(
    inputs: str | AnyPath | Sequence[str | AnyPath],
    folder: Output[Any],
    executor: Executor | Client | None,
    show_progress: bool,
    options: Mapping[str, Any],
) -> Iterator[TaskRunner]:
    """Start the workers, and index the sources."""
    if isinstance(options.get("splits"), Mapping):
        splits = ",".join(f"{name}={value}" for name, value in options["splits"].items())
        options = {**options, "splits": splits}
    config = ConvertConfig(**options)
    if executor is not None and config.dask is not None:
        raise OptionError("an executor and --dask exclude each other", advice="choose one")
    files = find_sources(
        [inputs] if isinstance(inputs, str | AnyPath) else inputs,
        note=print_line if show_progress else lambda _: None,
        absolute=executor is not None or config.dask is not None,
    )
    with running_on(executor, workers=config.workers, dask=config.dask) as workers:
        indexed = index_inputs(files, config, workers, show_progress=show_progress)
        sources, unreadable = readable_sources(indexed, config)
        yield TaskRunner(
            sources=sources,
            unreadable=unreadable,
            folder=folder,
            config=config,
            workers=workers,
            show_progress=show_progress,
        )
