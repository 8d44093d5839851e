"""One task of a conversion: some events are read, checked, split up and written as shards.

A task depends on no other and needs nothing but its request, so it can run in any process.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import InputError
from pilarnet_convert.files import remove_folder
from pilarnet_convert.output.remote import put_shards
from pilarnet_convert.particles import ParticleArrays, Selection, concatenate_particles, split_up
from pilarnet_convert.plan import EventRange, Task
from pilarnet_convert.readers.checks import check_events
from pilarnet_convert.readers.events import Events, Source, repeated_entries, repeated_rows
from pilarnet_convert.readers.repeats import merge_repeats
from pilarnet_convert.shards.format import SPLITS, ShardEntry, shard_name
from pilarnet_convert.shards.writer import write_shard
from pilarnet_convert.storage.ahead import in_threads
from pilarnet_convert.storage.remote import AnyPath, RemotePath, is_url
from pilarnet_convert.tally import Tally

__all__ = ["BadSourcesError", "TaskRecord", "TaskRequest", "find_repeated", "run_task"]


class BadSourcesError(Exception):
    """Sources of a task that cannot be read: by their indices, what is wrong with each."""

    def __init__(self, faults: Mapping[int, InputError]) -> None:
        super().__init__(faults)
        self.faults = faults


@dataclass(frozen=True, kw_only=True)
class TaskRequest:
    """Everything that a worker needs to run a task; `scratch` is the folder to write in.

    `sources` has those of the task's events by their index, `left_out` those that were taken out
    of the task because they cannot be read, and why. `repeated` has, by the index of a source that
    the task has in part, those entries whose numbers another event of the source has.
    """

    scratch: AnyPath
    task: Task
    sources: Mapping[int, Source]
    selection: Selection
    left_out: Mapping[int, str]
    repeated: Mapping[int, NDArray[np.int64]]


@dataclass(frozen=True, kw_only=True)
class TaskRecord:
    """What became of a task: the events and sources of its request, and the shards written.

    They are in the folder `attempt` of `TaskRequest.scratch`, under the names of their splits.
    """

    task: Task
    left_out: Mapping[int, str]
    tally: Tally
    shards: tuple[ShardEntry, ...]
    attempt: str

    def to_json(self) -> dict[str, Any]:
        """Return the record as JSON values."""
        return {
            "task": self.task.to_json(),
            "left_out": {str(source): error for source, error in self.left_out.items()},
            "tally": self.tally.to_json(),
            "shards": [entry.to_json() for entry in self.shards],
            "attempt": self.attempt,
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> TaskRecord:
        """Read a record back from its JSON values."""
        return cls(
            task=Task.from_json(document["task"]),
            left_out={int(source): error for source, error in document["left_out"].items()},
            tally=Tally.from_json(document["tally"]),
            shards=tuple(ShardEntry.from_json(entry) for entry in document["shards"]),
            attempt=document["attempt"],
        )


def find_repeated(numbered: tuple[int, Source]) -> NDArray[np.int64]:
    """List the entries of a source whose run, subrun and event number occur in another event too.

    The source is given with its index.

    It is here, not in `runner`, so that a worker need not import that module.
    """
    return repeated_entries(numbered[1])


def run_task(request: TaskRequest) -> TaskRecord:
    """Convert the events of a task, and write its shards into a folder that nothing else uses.

    The process that asked for the task puts them in place. So a task may run twice at the same
    time, as when a worker seems lost but still runs: only the shards of the attempt whose record
    the caller receives are put in place. Those of a remote set are put in place here.

    Raises
    ------
    BadSourcesError
        If sources cannot be read; all of the task are looked at.
    OSError
        If a shard cannot be written.
    """
    parts, tally = _particles(request)
    attempt = uuid4().hex
    with _built(request, attempt) as folder:
        entries = tuple(_write_shards(parts, folder, task=request.task.number))
    return TaskRecord(
        task=request.task,
        left_out=request.left_out,
        tally=tally,
        shards=entries,
        attempt=attempt,
    )


@contextmanager
def _built(request: TaskRequest, attempt: str) -> Iterator[Path]:
    """Yield a folder to write shards in; put those of a remote set in place at the end."""
    scratch = request.scratch
    if isinstance(scratch, RemotePath):
        with TemporaryDirectory() as folder:
            yield Path(folder)
            put_shards(Path(folder), scratch, task=request.task.number)
        return
    building = scratch / attempt
    building.mkdir()
    try:
        yield building
    except BaseException:
        remove_folder(building)
        raise


def _write_shards(
    parts: Sequence[Mapping[str, ParticleArrays]], folder: Path, *, task: int
) -> Iterator[ShardEntry]:
    """Write a shard of each split that has particles into `folder`."""
    for split in SPLITS:
        kept = [part[split] for part in parts if len(part[split])]
        if kept:
            particles = concatenate_particles(kept)
            (folder / split).mkdir()
            yield write_shard(
                folder / split,
                particles.arrays,
                name=shard_name(split, task),
                process_names=particles.process_names,
            )


def _read_events(request: TaskRequest) -> Iterator[Events | InputError]:
    """Read the events of each range; of remote files, while those before them are split up."""

    def read(events_of: EventRange) -> Events | InputError:
        try:
            with request.sources[events_of.source].open() as reader:
                return reader.read(events_of.start, events_of.stop)
        except InputError as error:
            return error

    ranges = request.task.ranges
    if len(ranges) > 1 and any(is_url(request.sources[r.source].path) for r in ranges):
        return in_threads(read, ranges, ahead=1)
    return map(read, ranges)


def _particles(request: TaskRequest) -> tuple[list[dict[str, ParticleArrays]], Tally]:
    """Read the events of each source, check them and split them up."""
    parts, total, faults = [], Tally(), {}
    for events_of, events in zip(request.task.ranges, _read_events(request), strict=True):
        source = request.sources[events_of.source]
        try:
            if isinstance(events, InputError):
                raise events
            check_events(events)
        except InputError as error:
            faults[events_of.source] = error
        if faults or isinstance(events, InputError):
            continue
        events, num_merged = merge_repeats(events.in_mev(source.units))
        particles, tally = split_up(
            events,
            identity=source.identity,
            source=events_of.source,
            selection=request.selection,
            repeated=_repeated(events, request.repeated.get(events_of.source)),
        )
        parts.append(particles)
        tally.repeated_voxels = num_merged
        total.add(tally)
    if faults:
        raise BadSourcesError(faults)
    return parts, total


def _repeated(events: Events, entries: NDArray[np.int64] | None) -> NDArray[np.bool_]:
    """Return which events have the run, subrun and event number of another of their source.

    Without `entries`, which lists them, `events` are all events of the source.
    """
    if entries is None:
        return repeated_rows(np.stack([events.run, events.subrun, events.event], axis=1))
    return np.isin(events.first_entry + np.arange(events.num_events), entries)
