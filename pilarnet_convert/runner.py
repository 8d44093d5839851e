"""Running the tasks of a conversion, putting their shards in place, writing the root."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.config import ConvertConfig
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import InputError, PilarnetError
from pilarnet_convert.executors import Workers
from pilarnet_convert.manifest import describe, require_same
from pilarnet_convert.output.output import Output
from pilarnet_convert.plan import Task, plan_tasks
from pilarnet_convert.readers.events import Source
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.shard import Shard
from pilarnet_convert.shards.writer import root_attributes
from pilarnet_convert.tally import Tally
from pilarnet_convert.task import BadSourcesError, TaskRecord, TaskRequest, find_repeated, run_task

__all__ = ["TaskRunner"]


@dataclass(frozen=True, kw_only=True)
class TaskRunner:
    """The tasks of a conversion: it runs them and finishes the set of shards.

    Attributes
    ----------
    sources : list of Source
        What is read.
    unreadable : list of {name, error}
        Sources that were left out because they cannot be read.
    folder : Output
        Where the shards go.
    config : ConvertConfig
        The options.
    workers : Workers
        Where the tasks run.
    show_progress : bool
        Whether to show a bar.
    """

    sources: list[Source]
    unreadable: list[dict[str, str]]
    folder: Output[Any]
    config: ConvertConfig
    workers: Workers
    show_progress: bool
    _repeated: dict[int, NDArray[np.int64]] = field(default_factory=dict, init=False)

    @cached_property
    def tasks(self) -> list[Task]:
        """The tasks of the whole conversion."""
        return plan_tasks(
            self.sources,
            events_per_task=self.config.events_per_shard,
            max_events=self.config.max_events,
        )

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """What determines the shards, as JSON values."""
        return describe(self.sources, self.config)

    def begin(self) -> None:
        """Begin the conversion, or join the same one that was begun in the folder."""
        require_same(self.folder.path, self.folder.begin(self.manifest), self.manifest)

    def was_finished(self) -> bool:
        """Return whether the folder holds the finished set; another one is refused."""
        if (finished := self.folder.root()) is None:
            return False
        require_same(self.folder.path, finished, self.manifest)
        self.folder.remove_working()
        return True

    def _request(self, task: Task, bad: Mapping[int, str]) -> TaskRequest:
        """Make the request for a task, without the sources known to be bad."""
        indices = {events.source for events in task.ranges}
        repeated = {
            r.source: entries[(entries >= r.start) & (entries < r.stop)]
            for r in task.ranges
            if (entries := self._repeated.get(r.source)) is not None
        }
        return TaskRequest(
            scratch=self.folder.scratch.absolute(),
            task=task.without(bad),
            sources={index: self.sources[index] for index in indices - bad.keys()},
            selection=self.config.selection,
            left_out={index: bad[index] for index in sorted(indices & bad.keys())},
            repeated=repeated,
        )

    def _find_repeated(self, tasks: Sequence[Task]) -> None:
        """Find the repeated numbers of events in sources that are split over several tasks."""
        needed = {
            events.source
            for task in tasks
            for events in task.ranges
            if events.num_events < self.sources[events.source].num_entries
        }
        items = [(n, self.sources[n]) for n in sorted(needed - self._repeated.keys())]
        for (number, _), future in self.workers.completed(find_repeated, items):
            self._repeated[number] = future.result()

    def _record(self, number: int) -> TaskRecord | None:
        """Return the record of a task of which all shards are there, or None."""
        try:
            record = TaskRecord.from_json(self.folder.record(number) or {})
        except (KeyError, TypeError, ValueError, AttributeError):
            return None
        if record.left_out and not self.config.skip_bad_files:
            return None  # run again, so that the fault is reported
        whole = all(Shard(self.folder.path, entry).is_whole() for entry in record.shards)
        return record if whole else None

    def _keep(self, record: TaskRecord) -> TaskRecord:
        """Put the shards of a task in place, and return the record of what is there then.

        What another process put there meanwhile stays if it is the same, or leaves out more.
        """
        number, before = record.task.number, self._record(record.task.number)
        if before is not None and (
            before.task == record.task or before.left_out.keys() > record.left_out.keys()
        ):
            self.folder.drop(record.attempt)
            return before
        self.folder.end_task(number, record.to_json(), attempt=record.attempt)
        return record

    def run(self, tasks: Sequence[Task]) -> list[TaskRecord]:
        """Run the tasks that are not done, and return the records of all, in order.

        A source that cannot be read ends the conversion. Where bad files are skipped, the tasks
        that read it are run again without it, once all others are done.

        Raises
        ------
        InputError
            If a source cannot be read and bad files are not skipped, or if none can be read.
        PilarnetError
            If a worker does not see the output folder.
        """
        records = {t.number: record for t in tasks if (record := self._record(t.number))}
        faults: dict[tuple[int, int], str] = {}  # by the source and the number of the task
        num_events = sum(task.num_events for task in tasks)
        with progress_bar(
            total=num_events,
            unit="event",
            description="converting",
            show=self.show_progress,
            advice="more --workers shorten it; after an interruption --resume continues",
        ) as bar:
            bad = self._bad_sources(records.values(), faults)
            while missing := _missing(tasks, records.values(), bad):
                left = sum(task.without(bad).num_events for task in missing)
                bar.measure_from(num_events - left)
                self._find_repeated(missing)
                requests = [self._request(task, bad) for task in missing]
                for request, outcome in self._completed(requests):
                    if isinstance(outcome, TaskRecord):
                        records[request.task.number] = outcome
                    else:
                        number = request.task.number
                        faults |= {(s, number): e.by_name() for s, e in outcome.faults.items()}
                    bar.update(request.task.num_events)
                bad = self._bad_sources(records.values(), faults)
        return [records[task.number] for task in tasks]

    def _completed(
        self, requests: Sequence[TaskRequest]
    ) -> Iterator[tuple[TaskRequest, TaskRecord | BadSourcesError]]:
        """Run tasks and put their shards in place, but for those whose sources turn out bad."""
        bad: set[int] = set()
        wanted = (request for request in requests if not bad & request.sources.keys())
        for request, future in self.workers.completed(run_task, wanted):
            outcome: TaskRecord | BadSourcesError
            try:
                outcome = self._keep(future.result())
            except BadSourcesError as found:
                if not self.config.skip_bad_files:
                    raise next(iter(found.faults.values())) from None
                bad |= found.faults.keys()
                outcome = found
            except FileNotFoundError as error:
                if not self.folder.scratch.is_dir():  # cleared away, or finished by others
                    raise
                raise PilarnetError(
                    "a worker does not see the output folder",
                    file=self.folder.path,
                    advice="name one on a file system that all workers share",
                ) from error
            yield request, outcome

    def _bad_sources(
        self, records: Iterable[TaskRecord], faults: Mapping[tuple[int, int], str]
    ) -> dict[int, str]:
        """Return the sources that cannot be read, and why; `InputError` if these are all.

        Of several faults of a source, that of its first task counts, whichever ended first.
        """
        bad: dict[int, str] = {}
        for source, number in sorted(faults):
            bad.setdefault(source, faults[source, number])
        for record in records:
            bad |= record.left_out
        if not {events.source for task in self.tasks for events in task.ranges} - bad.keys():
            raise InputError("no input can be converted", found="; ".join(bad.values()))
        return bad

    def finish(self, records: Sequence[TaskRecord]) -> None:
        """Write the root: the manifest, statistics, geometry and the list of shards."""
        left_out = {source: why for record in records for source, why in record.left_out.items()}
        late = [{"name": self.sources[n].name, "error": left_out[n]} for n in sorted(left_out)]
        entries = [entry for record in records for entry in record.shards]
        total = Tally()
        for record in records:
            total.add(record.tally)
        statistics = total.to_json()
        cubes = statistics.pop("cubes")
        attributes = {
            **self.manifest,
            "geometry": [
                {"voxels": [int(n) for n in cube[:3]], "voxel_size_cm": cube[3:]} for cube in cubes
            ],
            "statistics": statistics,
            "bad_files": [*self.unreadable, *late],
        }
        entries.sort(key=lambda entry: SPLITS.index(entry.split))
        self.folder.write_root(root_attributes(attributes, entries))
        self.folder.remove_working()


def _missing(
    tasks: Sequence[Task], records: Iterable[TaskRecord], bad: Mapping[int, str]
) -> list[Task]:
    """Return the tasks that are not done without the bad sources."""
    done = {record.task for record in records}
    return [task for task in tasks if task.without(bad) not in done]
