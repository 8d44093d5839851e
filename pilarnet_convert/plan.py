"""The plan of a conversion: which events make up which task.

The plan depends on the inputs and the options alone, never on the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.options import OptionError
from pilarnet_convert.readers.events import Source

__all__ = ["EventRange", "Part", "Task", "num_bytes", "plan_tasks"]

#: Compressed bytes of voxels in a task, some 2,500 events of 512 pixels: larger tasks leave fewer
#: files. Small conversions have smaller tasks, so that there are some for every worker.
TASK_BYTES: Final = 64_000_000
_LEAST_TASK_BYTES: Final = 32_000_000
_LEAST_TASKS: Final = 8


@dataclass(frozen=True, kw_only=True)
class EventRange:
    """Events `start` to `stop`, end excluded, of the source with the index `source`."""

    source: int
    start: int
    stop: int

    @property
    def num_events(self) -> int:
        """Count the events."""
        return self.stop - self.start


@dataclass(frozen=True, kw_only=True)
class Task:
    """The events that one worker turns into shards, which get the number of the task."""

    number: int
    ranges: tuple[EventRange, ...]

    @property
    def num_events(self) -> int:
        """Count the events."""
        return sum(events.num_events for events in self.ranges)

    def without(self, sources: Mapping[int, object]) -> Task:
        """Give the task without the events of some sources."""
        return replace(self, ranges=tuple(r for r in self.ranges if r.source not in sources))

    def to_json(self) -> dict[str, Any]:
        """Give the task as JSON values."""
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> Task:
        """Read a task back from its JSON values."""
        ranges = tuple(EventRange(**events) for events in document["ranges"])
        return cls(number=document["number"], ranges=ranges)


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of several parts, each of which converts every `count`-th task.

    Parameters
    ----------
    number : int
        Which, from 1 to `count`.
    count : int
        How many parts there are.

    Raises
    ------
    OptionError
        If there is no such part.
    """

    number: int
    count: int

    def __post_init__(self) -> None:
        if not 1 <= self.number <= self.count:
            raise OptionError(
                "no such part",
                field="--part",
                expected=f"1/{self.count} to {self.count}/{self.count}"
                if self.count > 0
                else "I/N with I from 1 to N",
                found=str(self),
            )

    def __str__(self) -> str:
        return f"{self.number}/{self.count}"

    @classmethod
    def parse(cls, text: str) -> Part:
        """Read a part such as ``2/5``.

        Raises
        ------
        OptionError
            If it is no such text, or there is no such part.
        """
        number, slash, count = text.partition("/")
        if not (slash and number.strip().isdecimal() and count.strip().isdecimal()):
            raise OptionError("not a part", field="--part", expected="such as 2/5", found=text)
        return cls(number=int(number), count=int(count))

    def select(self, tasks: Sequence[Task]) -> list[Task]:
        """Give the tasks of this part."""
        return [task for task in tasks if self._of(task.number) == self.number]

    def missing(self, numbers: Iterable[int]) -> list[Part]:
        """Give the parts to which these numbers of tasks belong."""
        parts = sorted({self._of(number) for number in numbers})
        return [Part(number=number, count=self.count) for number in parts]

    def _of(self, task: int) -> int:
        return task % self.count + 1


def plan_tasks(
    sources: Sequence[Source],
    *,
    events_per_task: int | None = None,
    max_events: int | None = None,
) -> list[Task]:
    """Divide the events of all sources into tasks, in order.

    A large source makes several tasks of about equal size, each of whole baskets of voxels, so
    that no basket is decompressed twice. Small sources that follow each other share a task.

    Parameters
    ----------
    events_per_task : int, optional
        Events of a task; a task may end at the end of a basket nearby. By default a task has
        about `TASK_BYTES` compressed bytes of voxels.
    max_events : int, optional
        Take only the first of all events.
    """
    left = math.inf if max_events is None else max_events
    total = sum(int(source.basket_borders()[1][-1]) for source in sources)
    task_bytes = np.clip(total / _LEAST_TASKS, _LEAST_TASK_BYTES, TASK_BYTES)
    ranges: list[list[EventRange]] = []
    size_so_far = math.inf  # of the last task; 1 is a full one
    for number, source in enumerate(sources):
        stop = int(min(source.num_entries, left))
        if stop == 0:
            break
        left -= stop
        borders, num_bytes = source.basket_borders()
        if events_per_task is None:
            size = float(np.interp(stop, borders, num_bytes)) / task_bytes
            ends = _equal_shares(borders, num_bytes, stop=stop, count=max(1, round(size)))
        else:
            size = stop / events_per_task
            ends = _equal_counts(borders, stop=stop, count=events_per_task)
        parts = [EventRange(source=number, start=a, stop=b) for a, b in pairwise([0, *ends])]
        if len(parts) == 1 and size_so_far + size / 2 <= 1:
            ranges[-1] += parts
            size_so_far += size
        else:
            ranges += [[part] for part in parts]
            size_so_far = size if len(parts) == 1 else math.inf
    return [Task(number=number, ranges=tuple(part)) for number, part in enumerate(ranges)]


def num_bytes(tasks: Iterable[Task], sources: Sequence[Source]) -> float:
    """Count the compressed bytes of voxels of tasks."""
    return sum(
        float(np.interp(part.stop, *borders) - np.interp(part.start, *borders))
        for task in tasks
        for part in task.ranges
        for borders in [sources[part.source].basket_borders()]
    )


def _equal_shares(
    borders: NDArray[np.int64], num_bytes: NDArray[np.int64], *, stop: int, count: int
) -> list[int]:
    """Give where each of about `count` ranges of equally many bytes ends, between baskets."""
    shares = np.linspace(0, np.interp(stop, borders, num_bytes), count + 1)[1:-1]
    inner = borders[np.searchsorted(num_bytes, shares)]
    return [*np.unique(inner[(inner > 0) & (inner < stop)]).tolist(), stop]


def _equal_counts(borders: NDArray[np.int64], *, stop: int, count: int) -> list[int]:
    """Give where each range of `count` events ends, or at a basket's end within a quarter."""
    ends = np.arange(count, stop, count)
    nearest = borders[np.abs(borders[:, None] - ends).argmin(axis=0)]
    snapped = np.where(np.abs(nearest - ends) <= count / 4, nearest, ends)
    return [*np.unique(snapped[(snapped > 0) & (snapped < stop)]).tolist(), stop]
