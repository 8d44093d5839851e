"""The plan of a conversion: which events make up which task.

The plan depends on the inputs and the options alone, never on the number of workers.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.options import OptionError
from pilarnet_convert.ragged import offsets_of, row_of
from pilarnet_convert.readers.events import Source

__all__ = ["EventRange", "Part", "Task", "plan_tasks"]

#: Compressed bytes of voxels in a task, some 2,500 events of 512 pixels: larger tasks leave fewer
#: files. Small conversions have smaller tasks, so that more workers share them.
TASK_BYTES: Final = 64_000_000
_LEAST_TASK_BYTES: Final = 16_000_000
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
        """Return the task without the events of some sources."""
        return replace(self, ranges=tuple(r for r in self.ranges if r.source not in sources))

    def to_json(self) -> dict[str, Any]:
        """Return the task as JSON values."""
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
        try:
            number, count = map(int, text.split("/"))
        except ValueError:
            raise OptionError(
                "not a part", field="--part", expected="such as 2/5", found=text
            ) from None
        return cls(number=number, count=count)

    def select(self, tasks: Sequence[Task]) -> list[Task]:
        """Return the tasks of this part."""
        return [task for task in tasks if self._part_of(task.number) == self.number]

    def missing(self, numbers: Iterable[int]) -> list[Part]:
        """Return the parts to which these numbers of tasks belong."""
        parts = sorted({self._part_of(number) for number in numbers})
        return [Part(number=number, count=self.count) for number in parts]

    def _part_of(self, task: int) -> int:
        return task % self.count + 1


def plan_tasks(
    sources: Sequence[Source],
    *,
    events_per_task: int | None = None,
    max_events: int | None = None,
) -> list[Task]:
    """Divide the events of all sources into tasks of about equal size, in order.

    A task may have a part of a source, or several sources. It ends between two baskets of voxels,
    so that none is decompressed twice, unless `events_per_task` asks for less than a basket.

    Parameters
    ----------
    events_per_task : int, optional
        Events of a task, up to a quarter more or less if a basket ends there. By default a task
        has about an eighth of the compressed bytes of all voxels, from 16 MB to 64 MB.
    max_events : int, optional
        Take only the first of all events.
    """
    first = offsets_of(np.array([source.num_entries for source in sources]))
    total = int(first[-1]) if max_events is None else min(int(first[-1]), max_events)
    events_before, bytes_before = _borders(sources, first)
    if events_per_task is None:
        end = np.interp(total, events_before, bytes_before)
        task_bytes = np.clip(end / _LEAST_TASKS, _LEAST_TASK_BYTES, TASK_BYTES)
        shares = np.linspace(0, end, max(1, math.ceil(end / task_bytes)) + 1)[1:-1]
        cuts = _nearest(events_before, np.interp(shares, bytes_before, events_before))
    else:
        wanted = np.arange(events_per_task, total, events_per_task)
        nearest = _nearest(events_before, wanted)
        cuts = np.where(np.abs(nearest - wanted) <= events_per_task / 4, nearest, wanted)
    cuts = np.unique(cuts)
    cuts = cuts[(cuts > 0) & (cuts < total)].tolist()
    return [
        Task(number=number, ranges=tuple(_ranges(first, start, stop)))
        for number, (start, stop) in enumerate(pairwise([0, *cuts, total]))
    ]


def _borders(
    sources: Sequence[Source], first: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Return the events and the bytes that precede each border of baskets, over all sources."""
    events, num_bytes = zip(*(source.borders for source in sources), strict=True)
    first_byte = offsets_of(np.array([of_source[-1] for of_source in num_bytes]))
    return (
        np.concatenate([a + b for a, b in zip(first, events, strict=False)]),
        np.concatenate([a + b for a, b in zip(first_byte, num_bytes, strict=False)]),
    )


def _nearest(ordered: NDArray[np.int64], wanted: NDArray[Any]) -> NDArray[np.int64]:
    """Return the one of some ordered numbers that lies nearest to each that is wanted."""
    above = np.searchsorted(ordered, wanted).clip(1, len(ordered) - 1)
    is_farther = ordered[above] - wanted > wanted - ordered[above - 1]
    nearest: NDArray[np.int64] = ordered[above - is_farther]
    return nearest


def _ranges(first: NDArray[np.int64], start: int, stop: int) -> Iterator[EventRange]:
    """Return the events `start` to `stop`, counted over all sources, source by source."""
    for source in range(row_of(first, start), row_of(first, stop - 1) + 1):
        yield EventRange(
            source=source,
            start=max(start - int(first[source]), 0),
            stop=min(stop, int(first[source + 1])) - int(first[source]),
        )
