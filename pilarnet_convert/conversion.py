"""The conversion: find sources, plan tasks, run them, collect their records, write the root."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console import print_line, progress_bar
from pilarnet_convert.executors import Workers, running_on
from pilarnet_convert.files import OutputFolder
from pilarnet_convert.inputs.look import look_into, readable
from pilarnet_convert.manifest import describe, require_same
from pilarnet_convert.options import OptionError
from pilarnet_convert.plan import Task, plan_tasks
from pilarnet_convert.readers.events import Source
from pilarnet_convert.readers.sources import find_sources
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import Shard, Shards, open_shards
from pilarnet_convert.shards.writer import root_attributes
from pilarnet_convert.tally import Tally
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
    """Convert files of the field into shards of labelled particles, and open these.

    Parameters
    ----------
    inputs : path or sequence of paths
        LArCV2, LArCV3 and PILArNet-M files, folders of them, or globs.
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
        The fields of `pilarnet_convert.config.ConvertConfig`; ``splits`` may be a mapping.

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
    files = find_sources(
        [inputs] if isinstance(inputs, str | Path) else inputs,
        note=print_line if show_progress else lambda _: None,
    )
    with running_on(executor, workers=config.workers) as workers:
        looked = look_into(files, config, workers, show_progress=show_progress)
        sources, unreadable = readable(looked, config)
        manifest = describe(sources, config)
        if resume and (finished := folder.root()) is not None:
            require_same(folder.path, finished, manifest)
            folder.finish()
            return open_shards(folder.path)
        with folder.locked():
            if resume and (before := folder.manifest()) is not None:
                require_same(folder.path, before, manifest)
            else:
                if not (resume or overwrite):
                    folder.check_again()
                folder.clear()
            folder.begin(manifest)
            work = _Work(sources=sources, folder=folder, config=config)
            records = _run_tasks(work, workers, show_progress=show_progress)
            folder.write_root(_root(manifest, records, sources, unreadable))
            folder.finish()
    return open_shards(folder.path)


@dataclass(frozen=True, kw_only=True)
class _Work:
    """What is converted, where to, and how."""

    sources: list[Source]
    folder: OutputFolder
    config: ConvertConfig

    def request(self, task: Task, bad: Mapping[int, str]) -> TaskRequest:
        """Make the request for a task, without the sources known to be bad."""
        indices = {events.source for events in task.ranges}
        return TaskRequest(
            out=self.folder.path,
            task=task.without(bad),
            sources={index: self.sources[index] for index in indices - bad.keys()},
            selection=self.config.selection,
            left_out={index: bad[index] for index in sorted(indices & bad.keys())},
        )

    def record(self, task: Task) -> TaskRecord | None:
        """Give the record of a task of which all shards are there, or None."""
        if (document := self.folder.record(task.number)) is None:
            return None
        record = TaskRecord.from_json(document)
        whole = all(Shard(self.folder.path, entry).is_whole() for entry in record.shards)
        return record if whole else None


def _run_tasks(work: _Work, workers: Workers, *, show_progress: bool) -> list[TaskRecord]:
    """Run all tasks that are not done, and give the records of all, in order.

    A source that cannot be read ends the conversion. Where bad files are skipped, the tasks that
    read it are run again without it, once all others are done.
    """
    tasks = plan_tasks(
        work.sources,
        events_per_task=work.config.events_per_shard,
        max_events=work.config.max_events,
    )
    records = {task.number: record for task in tasks if (record := work.record(task))}
    bad = {source: why for record in records.values() for source, why in record.left_out.items()}
    num_events = sum(task.num_events for task in tasks)
    with progress_bar(
        total=num_events, unit="event", description="converting", show=show_progress
    ) as bar:
        while True:
            done = {record.task for record in records.values()}
            missing = [r for task in tasks if (r := work.request(task, bad)).task not in done]
            bar.n = num_events - sum(request.task.num_events for request in missing)
            bar.refresh()
            if not missing:
                return [records[task.number] for task in tasks]
            faults: dict[int, BadSourceError] = {}  # by the number of the task
            found: set[int] = set()
            readable = (request for request in missing if not found & request.sources.keys())
            for request, future in workers.completed(run_task, readable):
                try:
                    records[request.task.number] = future.result()
                except BadSourceError as fault:
                    if not work.config.skip_bad_files:
                        if not records:
                            work.folder.clear()
                            work.folder.finish()
                        raise fault.error from None
                    faults[request.task.number] = fault
                    found.add(fault.source)
                bar.update(request.task.num_events)
            # Of a source's faults, keep the one of its first task, whichever task ended first.
            bad |= {faults[n].source: str(faults[n].error) for n in sorted(faults, reverse=True)}


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
    total = Tally()
    for record in records:
        total.add(record.tally)
    statistics = total.to_json()
    cubes = statistics.pop("cubes")
    attributes = {
        **manifest,
        "geometry": [
            {"voxels": [int(n) for n in cube[:3]], "voxel_size_cm": cube[3:]} for cube in cubes
        ],
        "statistics": statistics,
        "bad_files": [*unreadable, *late],
    }
    return root_attributes(
        attributes, sorted(entries, key=lambda e: SPLITS.index(e.name.split("/")[0]))
    )
