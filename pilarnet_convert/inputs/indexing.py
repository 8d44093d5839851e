"""Indexing all inputs, before the first event is converted."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Final, NamedTuple

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import InputError
from pilarnet_convert.executors import Workers
from pilarnet_convert.readers import index_source
from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.sources import SourceFiles

__all__ = ["IndexedInput", "find_duplicates", "index_inputs", "readable_sources"]

#: Up to this number, inputs are indexed in this process; more of them are given to the workers.
_FEW_INPUTS: Final = 8


class IndexedInput(NamedTuple):
    """An input: its files, and the sources that it holds or what is wrong with it."""

    files: SourceFiles
    sources: tuple[Source, ...]
    fault: InputError | None


def index_inputs(
    files: Sequence[SourceFiles], config: ConvertConfig, workers: Workers, *, show_progress: bool
) -> list[IndexedInput]:
    """Index all inputs, in their order; one that is named several times is read once."""
    distinct = list(dict.fromkeys(files))
    found: dict[SourceFiles, IndexedInput] = {}
    if len(distinct) <= _FEW_INPUTS:  # meanwhile the workers' server starts
        workers = Workers.in_this_process()
    calls = workers.completed(partial(index_source, reading=config.reading), distinct)
    with progress_bar(
        calls, total=len(distinct), unit="file", description="indexing", show=show_progress
    ) as bar:
        for source, future in bar:
            try:
                found[source] = IndexedInput(source, future.result(), None)
            except InputError as error:
                found[source] = IndexedInput(source, (), error)
    return [found[source] for source in files]


def readable_sources(
    indexed: Sequence[IndexedInput], config: ConvertConfig
) -> tuple[list[Source], list[dict[str, str]]]:
    """Return the sources that can be read, and the name and error of those that are skipped.

    Raises
    ------
    InputError
        If an input cannot be read and bad files are not skipped, if none can be read, or if the
        same content is named twice and duplicates are not allowed.
    """
    faults = {one.files: one.fault for one in indexed if one.fault is not None}
    if faults and not config.skip_bad_files:
        raise next(iter(faults.values()))
    good = [source for one in indexed for source in one.sources]
    if not good:
        reasons = "; ".join(map(str, faults.values()))
        raise InputError("no input can be converted", found=reasons or "none")
    if not config.allow_duplicates:
        for place, first in find_duplicates(good).items():
            raise InputError(
                "the same content is named twice",
                file=good[place].path,
                found=f"also as {first.path}",
                advice="name it once, or take it twice with --allow-duplicates",
            )
    return good, [{"name": files.name, "error": fault.by_name()} for files, fault in faults.items()]


def find_duplicates(sources: Sequence[Source]) -> dict[int, Source]:
    """Return, for each source with the same content as an earlier one, its index and that one."""
    first: dict[str, int] = {}
    return {
        place: sources[before]
        for place, source in enumerate(sources)
        if (before := first.setdefault(source.identity, place)) != place
    }
