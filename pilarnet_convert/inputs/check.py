"""Finding what is wrong with each input, without converting it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console.progress import print_line, progress_bar
from pilarnet_convert.errors import InputError
from pilarnet_convert.executors import running_on
from pilarnet_convert.inputs.indexing import find_duplicates
from pilarnet_convert.readers import HEAD_EVENTS, index_source
from pilarnet_convert.readers.events import Source, repeated_rows
from pilarnet_convert.readers.kinds import Reading
from pilarnet_convert.readers.sources import SourceFiles, find_sources
from pilarnet_convert.readers.units import units_of
from pilarnet_convert.storage.remote import AnyPath

__all__ = ["CheckedInput", "check_inputs"]


@dataclass(frozen=True, kw_only=True)
class CheckedInput:
    """What was found in an input.

    Attributes
    ----------
    path : str
        The file of its clusters.
    source : Source or None
        What is known before its events are read; None if it cannot be read.
    repeated_numbers : int
        The number of events whose run, subrun and number another event of the file has.
    unit : str
        The unit of its energies.
    fault : str
        What is wrong, in one line; empty if nothing is.
    verdict : str
        The same in a few words.
    """

    path: str
    source: Source | None = None
    repeated_numbers: int = 0
    unit: str = ""
    fault: str = ""
    verdict: str = "good"


def check_inputs(
    inputs: Sequence[str | AnyPath], config: ConvertConfig, *, show_progress: bool = False
) -> list[CheckedInput]:
    """Check all inputs: that they can be opened and have both products, in the same length.

    Parameters
    ----------
    inputs : sequence of paths
        As for `pilarnet_convert.convert`.
    config : ConvertConfig
        The options of the conversion.
    show_progress : bool
        Show a bar on the terminal.

    Raises
    ------
    InputError
        If an input does not exist.
    """
    note = print_line if show_progress else lambda _: None
    named = find_sources(inputs, note=note, absolute=config.dask is not None)
    files = list(dict.fromkeys(named))
    with running_on(None, workers=config.workers, dask=config.dask) as workers:
        calls = workers.completed(partial(_check, reading=config.reading), files)
        with progress_bar(
            calls, total=len(files), unit="file", description="checking", show=show_progress
        ) as bar:
            found = {source: future.result() for source, future in bar}
    every = [one for source in named for one in found[source]]
    return every if config.allow_duplicates else _without_duplicates(every)


def _check(files: SourceFiles, *, reading: Reading) -> list[CheckedInput]:
    """Check one input; it may hold several sources."""
    try:
        return [_check_source(source) for source in index_source(files, reading=reading)]
    except InputError as error:
        path = error.details["file"] or str(files.files[0])
        return [CheckedInput(path=path, fault=str(error), verdict=error.problem)]


def _check_source(source: Source) -> CheckedInput:
    """Check the numbers of the events, and the unit of the first energies."""
    unit: str = source.units.energy
    if not source.units_are_known:
        head = source.truth(0, min(HEAD_EVENTS, source.num_entries))
        if unit == "MeV" and units_of(head) is None:
            unit += ", some below the mass"
    return CheckedInput(
        path=source.path,
        source=source,
        repeated_numbers=int(np.count_nonzero(repeated_rows(source.numbers()))),
        unit=unit,
    )


def _without_duplicates(checked: list[CheckedInput]) -> list[CheckedInput]:
    """Mark the inputs that have the same content as an earlier one."""
    known = [place for place, one in enumerate(checked) if one.source]
    first = find_duplicates([source for one in checked if (source := one.source)])
    marked = list(checked)
    for number, before in first.items():
        one = checked[known[number]]
        fault = f"{one.path}: the same content as {before.path}; see --allow-duplicates"
        marked[known[number]] = replace(one, verdict="named twice", fault=fault)
    return marked
