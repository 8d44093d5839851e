"""The conversion: from named inputs to a finished set of shards.

Two kinds of work are given to the workers. A *unit*, some tens of events, becomes a segment; as
soon as the segments before it are there too, ranges of their particles are packed into *shards*.
Which particles make up a shard depends on the input and the options alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Executor, Future, wait
from pathlib import Path
from typing import Any

from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import InputError, PilarnetError
from pilarnet_convert.files import OutFolder
from pilarnet_convert.manifest import ConversionOptions, attributes, describe, require_same
from pilarnet_convert.particles import Selection
from pilarnet_convert.plan import SourceFiles, cut_units, find_sources, parse_splits
from pilarnet_convert.readers.events import Source, UnknownPdg
from pilarnet_convert.schedule import Schedule, ShardPlan
from pilarnet_convert.shards.reader import Shards, open_shards
from pilarnet_convert.shards.writer import write_root
from pilarnet_convert.spool import UnitReport
from pilarnet_convert.task import (
    ReaderName,
    Setting,
    Workers,
    convert_unit,
    index_files,
    pack_shard,
)

__all__ = ["convert"]


def convert(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    min_voxels: int = 10,
    splits: str | Mapping[str, float] = "train=0.8,val=0.1,test=0.1",
    primaries_only: bool = False,
    particles_per_shard: int = 16_384,
    workers: int | None = None,
    reader: ReaderName = "native",
    resume: bool = False,
    overwrite: bool = False,
    skip_bad_files: bool = False,
    max_events: int | None = None,
    unknown_pdg: UnknownPdg = "error",
    show_progress: bool = False,
) -> Shards:
    """Convert LArCV files into shards of labelled particle clouds.

    Parameters
    ----------
    inputs : path or sequence of paths
        LArCV2 files, folders of them, or globs.
    out : path
        The folder to write.
    min_voxels : int
        The least number of voxels of a particle.
    splits : str or mapping of str to float
        Fractions of the events, ``"train=0.8,val=0.1,test=0.1"`` or the like.
    primaries_only : bool
        Keep only primary particles.
    particles_per_shard : int
        Particles of every shard of a split but the last.
    workers : int, optional
        Processes; all cores by default. The shards do not depend on it.
    reader : {"native", "dlp"}
        Read natively, or through dlp_opendata_api, ROOT and LArCV2.
    resume : bool
        Go on with an unfinished conversion of the same inputs and options.
    overwrite : bool
        Replace the shards that are there.
    skip_bad_files : bool
        Leave out what cannot be read; ``attributes["bad_files"]`` of the result names it.
    max_events : int, optional
        Take only the first of all events.
    unknown_pdg : {"error", "other"}
        What to do with a PDG code that names no particle.
    show_progress : bool
        Show a bar on the terminal.

    Returns
    -------
    Shards
        The finished shards, open.

    Raises
    ------
    InputError
        If an input cannot be converted.
    PilarnetError
        If an option does not fit, the output folder is in use, or a worker process vanished.
    """
    options = ConversionOptions(
        selection=Selection(
            min_voxels=_at_least(min_voxels, 1, "--min-voxels"),
            primaries_only=primaries_only,
            splits=parse_splits(
                splits
                if isinstance(splits, str)
                else ",".join(f"{k}={v}" for k, v in splits.items())
            ),
        ),
        particles_per_shard=_at_least(particles_per_shard, 1, "--particles-per-shard"),
        max_events=None if max_events is None else _at_least(max_events, 1, "--max-events"),
        skip_bad_files=skip_bad_files,
        unknown_pdg=unknown_pdg,
    )
    if resume and overwrite:
        raise PilarnetError("--resume and --overwrite exclude each other", advice="choose one")
    num_workers = _at_least(_num_cores() if workers is None else workers, 1, "--workers")
    folder = OutFolder(Path(out))
    folder.check(resume=resume, overwrite=overwrite)
    files = find_sources([inputs] if isinstance(inputs, str | Path) else inputs)
    sources, bad_files = _index(files, options, reader, num_workers, show_progress)
    plan = describe(sources, options)
    if resume and folder.completed() is not None:
        require_same(folder.path, folder.completed() or {}, plan)
        folder.finish()
        return open_shards(folder.path)
    with folder.locked():
        if not (resume or overwrite):
            folder.check_again()
        if resume and (record := folder.recorded()) is not None:
            require_same(folder.path, record, plan)
        else:
            folder.clear()
        folder.begin(plan)
        setting = Setting(
            out=folder.path,
            segments=folder.segments,
            scratch=folder.scratch,
            sources=sources,
            reader=reader,
            selection=options.selection,
            unknown_pdg=unknown_pdg,
        )
        units = cut_units(sources, max_events=max_events)
        schedule = Schedule(
            units,
            folder=folder,
            particles_per_shard=options.particles_per_shard,
            whole_sources=skip_bad_files,
        )
        try:
            bad_files += _run(schedule, setting, num_workers, show_progress)
        except InputError:
            if not schedule.has_shards:
                folder.clear()
                folder.finish()
            raise
        write_root(folder.path, attributes(plan, schedule, bad_files), scratch=folder.scratch)
        folder.finish()
    return open_shards(folder.path)


def _at_least(value: int, least: int, option: str) -> int:
    if value < least:
        raise PilarnetError("too small", field=option, expected=f"at least {least}", found=value)
    return value


def _num_cores() -> int:
    return len(os.sched_getaffinity(0))


def _index(
    files: Sequence[SourceFiles],
    options: ConversionOptions,
    reader: ReaderName,
    num_workers: int,
    show_progress: bool,
) -> tuple[dict[int, Source], list[dict[str, str]]]:
    """Look into every source; give those that can be read, and what is wrong with the others."""
    distinct = list(dict.fromkeys(files))
    found: dict[SourceFiles, Source | InputError] = {}
    with (
        Workers(min(num_workers, len(distinct))) as pool,
        progress_bar(
            total=len(distinct), unit="file", description="looking", show=show_progress
        ) as bar,
    ):
        futures = [pool.submit(index_files, reader, source) for source in distinct]
        for source, future in zip(distinct, futures, strict=True):
            try:
                found[source] = future.result()
            except InputError as error:
                if not options.skip_bad_files:
                    raise
                found[source] = error
            bar.update()
    bad_files = [
        {"name": source.name, "error": str(fault)}
        for source, fault in found.items()
        if isinstance(fault, InputError)
    ]
    good = [s for s in (found[source] for source in files) if not isinstance(s, InputError)]
    if not good:
        raise InputError(
            "no input can be converted", found="; ".join(b["error"] for b in bad_files)
        )
    return dict(enumerate(good)), bad_files


def _run(
    schedule: Schedule,
    setting: Setting,
    num_workers: int,
    show_progress: bool,
) -> list[dict[str, str]]:
    """Keep the workers busy until every shard is there; give the sources left out."""
    faults: dict[int, str] = {}
    with (
        Workers(num_workers, setting) as pool,
        progress_bar(
            total=schedule.num_events, unit="event", description="converting", show=show_progress
        ) as bar,
    ):
        bar.update(schedule.num_events_done)
        running: dict[Future[Any], ShardPlan | int] = {}
        while True:
            # Twice as many as workers, so that none waits for this loop.
            while len(running) < 2 * num_workers and (work := schedule.next_work()) is not None:
                running[_submit(pool, work, schedule)] = work
            if not running:
                break
            done = wait(running, return_when=FIRST_COMPLETED).done
            for future in [f for f in running if f in done]:  # the first fault is told
                work = running.pop(future)
                if isinstance(work, ShardPlan):
                    future.result()
                    schedule.shard_done(work)
                else:
                    bar.update(_finish_unit(work, future, schedule, faults))
    # Units are begun in order, so that the first fault of a source is always among those found.
    first = {schedule.units[number].source: faults[number] for number in sorted(faults)[::-1]}
    return [
        {"name": setting.sources[source].name, "error": first[source]} for source in sorted(first)
    ]


def _submit(pool: Executor, work: ShardPlan | int, schedule: Schedule) -> Future[Any]:
    if isinstance(work, ShardPlan):
        return pool.submit(pack_shard, work.name, work.parts)
    return pool.submit(convert_unit, work, schedule.units[work])


def _finish_unit(
    number: int, future: Future[UnitReport], schedule: Schedule, faults: dict[int, str]
) -> int:
    """Take in a unit, or leave out its source if that is allowed; give the events done."""
    unit = schedule.units[number]
    try:
        schedule.unit_done(number, future.result())
    except InputError as error:
        if not schedule.whole_sources:
            raise
        schedule.source_failed(unit.source)
        faults[number] = str(error)
    return unit.stop - unit.start
