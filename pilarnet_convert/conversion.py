"""The conversion: find sources, plan tasks, run them, collect their records, write the root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import InputError
from pilarnet_convert.executors import completed, running_on
from pilarnet_convert.files import OutputFolder
from pilarnet_convert.manifest import describe, require_same, statistics_of
from pilarnet_convert.options import OptionError
from pilarnet_convert.plan import Task, plan_tasks
from pilarnet_convert.readers import index_source
from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.sources import SourceFiles, find_sources
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import Shard, Shards, open_shards
from pilarnet_convert.shards.writer import root_attributes
from pilarnet_convert.task import BadSourceError, TaskRecord, TaskRequest, run_task

__all__ = ["convert"]


def convert(
    inputs: str | Path | Sequence[str | Path],
    out: str | Path,
    *,
    executor: Executor | None = None,
    resume: bool = False,
    overwrite: bool = False,
    show_progress: bool = False,
    **options: Any,
) -> Shards:
    """Convert LArCV files into shards of labelled particles.

    Parameters
    ----------
    inputs : path or sequence of paths
        LArCV2 files, folders of them, or globs.
    out : path
        The folder to write.
    executor : Executor, optional
        Where the tasks run; by default in ``workers`` processes of this machine.
    resume : bool
        Go on with an unfinished conversion of the same inputs and options.
    overwrite : bool
        Replace the shards that are there.
    show_progress : bool
        Show a bar on the terminal.
    **options
        The fields of `pilarnet_convert.config.ConvertConfig`: min_voxels, splits, primaries_only,
        events_per_shard, max_events, unknown_pdg, reader, workers, skip_bad_files.

    Returns
    -------
    Shards
        The finished shards, open.

    Raises
    ------
    InputError
        If an input cannot be converted.
    OptionError
        If an option has a value that cannot be used.
    PilarnetError
        If the output folder is in use, or a worker process ended.
    """
    if isinstance(options.get("splits"), Mapping):
        options["splits"] = ",".join(f"{k}={v}" for k, v in options["splits"].items())
    config = ConvertConfig(**options)
    if resume and overwrite:
        raise OptionError("--resume and --overwrite exclude each other", advice="choose one")
    folder = OutputFolder(Path(out))
    folder.check(resume=resume, overwrite=overwrite)
    files = find_sources([inputs] if isinstance(inputs, str | Path) else inputs)
    with running_on(executor, workers=config.num_workers) as pool:
        sources, unreadable = _look_into(files, config, pool=pool, show_progress=show_progress)
        manifest = describe(sources, config)
        if resume and (finished := folder.root()) is not None:
            require_same(folder.path, finished, manifest)
            folder.finish()
            return open_shards(folder.path)
        with folder.locked():
            if not (resume or overwrite):
                folder.check_again()
            if resume and (before := folder.manifest()) is not None:
                require_same(folder.path, before, manifest)
            else:
                folder.clear()
            folder.begin(manifest)
            work = _Work(
                tasks=plan_tasks(
                    sources, events_per_task=config.events_per_shard, max_events=config.max_events
                ),
                sources=sources,
                folder=folder,
                config=config,
            )
            records = _run_tasks(work, pool=pool, show_progress=show_progress)
            folder.write_root(_root(manifest, records, sources, unreadable))
            folder.finish()
    return open_shards(folder.path)


def _look_into(
    files: Sequence[SourceFiles], config: ConvertConfig, *, pool: Executor, show_progress: bool
) -> tuple[list[Source], list[dict[str, str]]]:
    """Give the sources that can be read, and the name and error of the others.

    Raises
    ------
    InputError
        If a source cannot be read, unless bad files are skipped; or if none can be read.
    """
    distinct = list(dict.fromkeys(files))
    found: dict[SourceFiles, Source | InputError] = {}
    index = partial(index_source, reader=config.reader)
    with progress_bar(
        total=len(distinct), unit="file", description="looking", show=show_progress
    ) as bar:
        for source, future in completed(pool, index, distinct):
            try:
                found[source] = future.result()
            except InputError as error:
                found[source] = error
            bar.update()
    faults = {s: fault for s in distinct if isinstance(fault := found[s], InputError)}
    for fault in faults.values():
        if not config.skip_bad_files:
            raise fault
    good = [indexed for s in files if not isinstance(indexed := found[s], InputError)]
    if not good:
        raise InputError("no input can be converted", found="; ".join(map(str, faults.values())))
    return good, [{"name": s.name, "error": str(fault)} for s, fault in faults.items()]


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is to be done: the tasks, the sources they read, where to, and how."""

    tasks: list[Task]
    sources: list[Source]
    folder: OutputFolder
    config: ConvertConfig

    def request(self, task: Task, bad: Mapping[int, str]) -> TaskRequest:
        """Give a task, without the sources known to be bad, as a worker takes it."""
        indices = {events.source for events in task.ranges}
        return TaskRequest(
            out=self.folder.path,
            task=task.without(bad),
            sources={index: self.sources[index] for index in indices - bad.keys()},
            selection=self.config.selection,
            unknown_pdg=self.config.unknown_pdg,
            left_out={index: bad[index] for index in sorted(indices & bad.keys())},
        )

    def done_before(self) -> dict[int, TaskRecord]:
        """Give the records of the tasks whose shards are there."""
        documents = ((task.number, self.folder.record(task.number)) for task in self.tasks)
        records = {n: TaskRecord.from_json(d) for n, d in documents if d is not None}
        return {
            number: record
            for number, record in records.items()
            if all(Shard(self.folder.path, entry).is_whole() for entry in record.shards)
        }


def _run_tasks(work: _Work, *, pool: Executor, show_progress: bool) -> list[TaskRecord]:
    """Run all tasks that are not done, and give the records of all, in order.

    A source that cannot be read ends the conversion. Where bad files are skipped, the tasks that
    read it are run again without it, once all others are done.
    """
    records = work.done_before()
    bad = {source: why for record in records.values() for source, why in record.left_out.items()}
    num_events = sum(task.num_events for task in work.tasks)
    with progress_bar(
        total=num_events, unit="event", description="converting", show=show_progress
    ) as bar:
        while True:
            requests = [work.request(task, bad) for task in work.tasks]
            missing = [r for r in requests if not _is_record_of(records.get(r.task.number), r)]
            bar.n = num_events - sum(request.task.num_events for request in missing)
            bar.refresh()
            if not missing:
                return [records[task.number] for task in work.tasks]
            found: dict[int, tuple[int, BadSourceError]] = {}
            readable = (r for r in missing if not found.keys() & r.sources.keys())
            for request, future in completed(pool, run_task, readable):
                try:
                    records[request.task.number] = future.result()
                except BadSourceError as fault:
                    if not work.config.skip_bad_files:
                        if not records:
                            work.folder.clear()
                            work.folder.finish()
                        raise fault.error from None
                    # Of a source's faults the one in its first task is told, whichever comes first.
                    first = (request.task.number, fault)
                    found[fault.source] = min(found.get(fault.source, first), first, key=_number)
                bar.update(request.task.num_events)
            bad |= {source: str(fault.error) for source, (_, fault) in found.items()}


def _number(fault: tuple[int, BadSourceError]) -> int:
    return fault[0]


def _is_record_of(record: TaskRecord | None, request: TaskRequest) -> bool:
    return record is not None and record.task == request.task


def _root(
    manifest: Mapping[str, Any],
    records: Sequence[TaskRecord],
    sources: Sequence[Source],
    unreadable: Sequence[Mapping[str, str]],
) -> dict[str, Any]:
    """Give the attributes of the root: the manifest, and what came of it."""
    left_out = {source: why for record in records for source, why in record.left_out.items()}
    late = [{"name": sources[n].name, "error": left_out[n]} for n in sorted(left_out)]
    entries = [entry for record in records for entry in record.shards]
    attributes = {
        **manifest,
        **statistics_of(record.tally for record in records),
        "bad_files": [*unreadable, *late],
    }
    return root_attributes(
        attributes, sorted(entries, key=lambda e: SPLITS.index(e.name.split("/")[0]))
    )
