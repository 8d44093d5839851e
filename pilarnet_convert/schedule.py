"""Which work comes next: units in any order, shards as soon as all they hold is there."""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from pilarnet_convert.files import OutFolder
from pilarnet_convert.particles import Tally
from pilarnet_convert.plan import ShardCutter, Unit
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.spool import UnitReport, read_report, remove_segment

__all__ = ["Schedule", "ShardPlan"]


@dataclass(frozen=True, kw_only=True)
class ShardPlan:
    """A shard to pack: its place, and the ranges of particles that make it up."""

    split: str
    number: int
    parts: tuple[tuple[int, int, int], ...]

    @property
    def name(self) -> str:
        """Its place in the set, e.g. ``train/00000``."""
        return f"{self.split}/{self.number:05d}"


class Schedule:
    """The state of a conversion, begun or resumed.

    Parameters
    ----------
    units : sequence of Unit
        All units, in order.
    folder : OutFolder
        Where segments and shards are; what is there already is not done again.
    particles_per_shard : int
        Particles of every shard but the last of a split.
    whole_sources : bool
        Use the particles of a source only once all its units are done, so that a source that
        turns out bad contributes nothing.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        *,
        folder: OutFolder,
        particles_per_shard: int,
        whole_sources: bool,
    ) -> None:
        self.units = units
        self._folder = folder
        self.whole_sources = whole_sources
        self._cutters = {split: ShardCutter(particles_per_shard) for split in SPLITS}
        self._num_shards = dict.fromkeys(SPLITS, 0)
        self._ready: deque[ShardPlan] = deque()
        self._bad_sources: set[int] = set()
        self._last_unit = {unit.source: number for number, unit in enumerate(units)}
        self._waiting: Counter[tuple[int, str]] = Counter()
        self._planned_to_end: set[tuple[int, str]] = set()
        self._frontier = 0
        self._reports: dict[int, UnitReport] = {}
        for number in range(len(units)):
            report = read_report(folder.segments, number)
            if report is not None:
                self._reports[number] = report
        self._pending = iter([n for n in range(len(units)) if n not in self._reports])
        self._advance()

    @property
    def num_events(self) -> int:
        """Events to convert in all."""
        return sum(unit.stop - unit.start for unit in self.units)

    @property
    def num_events_done(self) -> int:
        """Events whose segments are there."""
        return sum(report.tally.events for report in self._reports.values())

    @property
    def has_shards(self) -> bool:
        """Whether a shard is finished."""
        return any((self._folder.path / name).exists() for name in self.shard_names)

    @property
    def shard_names(self) -> list[str]:
        """The shards planned so far, split by split."""
        return [f"{split}/{n:05d}" for split in SPLITS for n in range(self._num_shards[split])]

    def next_work(self) -> ShardPlan | int | None:
        """Give a shard that can be packed, else the number of a unit to be done, else None."""
        if self._ready:
            return self._ready.popleft()
        return next(
            (n for n in self._pending if self.units[n].source not in self._bad_sources), None
        )

    def unit_done(self, number: int, report: UnitReport) -> None:
        """Take note of a finished unit."""
        self._reports[number] = report
        self._advance()

    def source_failed(self, source: int) -> None:
        """Leave out a source."""
        self._bad_sources.add(source)
        self._advance()

    def shard_done(self, shard: ShardPlan) -> None:
        """Remove the segments that no other shard waits for."""
        for unit, _, _ in shard.parts:
            key = (unit, shard.split)
            self._waiting[key] -= 1
            if not self._waiting[key] and key in self._planned_to_end:
                remove_segment(self._folder.segments, unit, shard.split)

    def tally(self) -> Tally:
        """Add up what became of the clusters of all sources that were not left out."""
        total = Tally()
        for number, report in sorted(self._reports.items()):
            if self.units[number].source not in self._bad_sources:
                total.add(report.tally)
        return total

    def _advance(self) -> None:
        """Hand the particles of every unit up to the first that is missing to the cutters."""
        if self._frontier == len(self.units):
            return
        while self._frontier < len(self.units) and self._may_pass(self._frontier):
            number = self._frontier
            self._frontier += 1
            if self.units[number].source in self._bad_sources:
                continue
            for split, cutter in self._cutters.items():
                self._plan(split, cutter.add(number, self._reports[number].num_particles(split)))
        if self._frontier == len(self.units):
            for split, cutter in self._cutters.items():
                self._plan(split, cutter.finish())

    def _may_pass(self, number: int) -> bool:
        source = self.units[number].source
        if source in self._bad_sources:
            return True
        last = self._last_unit[source] if self.whole_sources else number
        return all(n in self._reports for n in range(number, last + 1))

    def _plan(self, split: str, shards: Iterable[list[tuple[int, int, int]]]) -> None:
        for parts in shards:
            shard = ShardPlan(split=split, number=self._num_shards[split], parts=tuple(parts))
            self._num_shards[split] += 1
            if (self._folder.path / shard.name).exists():
                continue
            self._ready.append(shard)
            for unit, _, stop in parts:
                self._waiting[unit, split] += 1
                if stop == self._reports[unit].num_particles(split):
                    self._planned_to_end.add((unit, split))
