"""Progress of long work: a bar on a terminal, a line a minute in the log of a batch job."""

from __future__ import annotations

import io
import math
import sys
import threading
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

from tqdm import tqdm

from pilarnet_convert.errors import plural

__all__ = ["ProgressBar", "print_line", "progress_bar"]

#: Seconds between two updates, between two lines, and of measured work before the advice.
_TICK_SECONDS: Final = 1.0
_LINE_SECONDS: Final = 60.0
_MEASURED_SECONDS: Final = 20.0
#: The time left is estimated once this multiple of the time of the first unit has passed.
_FIRST_TIMES: Final = 1.5
#: If more time than this is left, the advice how to shorten the work is printed.
_LONG_SECONDS: Final = 3600.0
#: Columns of a terminal that are kept for the bar itself.
_BAR_COLUMNS: Final = 4


class ProgressBar(tqdm):  # type: ignore[misc]  # tqdm has no types
    """The bar that `progress_bar` makes."""

    def __init__(
        self,
        iterable: Iterable[Any] | None,
        *,
        total: float | None,
        unit: str,
        description: str,
        show: bool,
        log: Callable[[str], object] | None,
        advice: str,
    ) -> None:
        self._start, self._first_took = time.monotonic(), math.inf
        self._measured_from = 0.0, self._start
        self._draws = show and sys.stderr.isatty()
        self._tells: list[Callable[[str], object]] = [] if log is None else [log]
        if show and not self._draws:
            self._tells.append(_print_to_stderr)
        self._noun, self._advice, self._has_told = unit, advice, False
        self._ended = threading.Event()
        super().__init__(
            iterable,
            total=total,
            desc=description,
            dynamic_ncols=True,
            bar_format="{desc}: {percentage:3.0f} % |{bar}| {facts}",
            file=sys.stderr if self._draws else io.StringIO(),
            disable=not (show or self._tells),
        )
        if not self.disable:
            self._watcher = threading.Thread(target=self._watch, daemon=True)
            self._watcher.start()

    def measure_from(self, done: float) -> None:
        """Count `done` units as done before; the rate is measured from now on."""
        if not self.disable:
            self.n, self._first_took = done, math.inf
            self._measured_from = done, time.monotonic()
            self.refresh()

    def update(self, n: float | None = 1) -> bool | None:
        """Count units."""
        if n and not self.disable:
            self._first_took = min(self._first_took, time.monotonic() - self._measured_from[1])
        return bool(super().update(n))

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar shows, by name; ``facts`` are the first ones that fit into the line."""
        shown = super().format_dict
        facts = self._facts()
        room = (shown["ncols"] or math.inf) - len(f"{self.desc}: 100 % || ") - _BAR_COLUMNS
        while len(facts) > 1 and len(", ".join(facts)) > room:
            facts.pop()
        # Parts of units may add up to a little more than their total, which tqdm warns of.
        done = min(self.n, self.total or self.n)
        return {**shown, "n": done, "facts": ", ".join(facts)}

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, but only on a terminal."""
        return bool(super().display(msg, pos)) if self._draws else True

    def close(self) -> None:
        """End the bar; if lines were printed, a last one says what was done."""
        if not self.disable and not self._ended.is_set():
            self._ended.set()
            self._watcher.join()  # it draws nothing below the end
            if self._has_told:
                self._tell(self._line())
        super().close()

    def _line(self) -> str:
        share = [f"{self.n / self.total:.0%}".replace("%", " %")] if self.total else []
        return f"{self.desc}: {', '.join([*share, *self._facts()])}"

    def _facts(self) -> list[str]:
        """Describe what is done, how long it takes, the last message, and the rate."""
        done = [_count(self.n, self._noun, total=self.total)] if self._noun else []
        said = self.postfix.split(", ") if self.postfix else []
        rate = self._rate()
        speed = [_speed(rate, self._noun)] if rate and self._noun else []
        return [*done, self._time_fact(), *said, *speed]

    def _time_fact(self) -> str:
        took = _duration(time.monotonic() - self._start)
        if self._ended.is_set():
            return f"took {took}"
        left = self._seconds_left()
        return f"{took} so far" if left is None else f"{_duration(left)} left"

    def _rate(self) -> float | None:
        """Return the units per second, None before the first."""
        before, start = self._measured_from
        done, seconds = self.n - before, time.monotonic() - start
        return float(done / seconds) if done > 0 and seconds > 0 else None

    def _seconds_left(self) -> float | None:
        """Estimate the time left, once 1.5 times the time of the first unit has passed.

        Before that the rate is misleading: the first of many workers that ends, or the first step
        of a network, is not typical.
        """
        rate, seconds = self._rate(), time.monotonic() - self._measured_from[1]
        if rate is None or not self.total or self.n >= self.total:
            return None
        if seconds < _FIRST_TIMES * self._first_took:
            return None
        return float((self.total - self.n) / rate)

    def _watch(self) -> None:
        """Update the bar every second, print a line every minute, and once the advice."""
        told = self._start
        while not self._ended.wait(_TICK_SECONDS):
            self.refresh()
            now = time.monotonic()
            if now - self._measured_from[1] >= _MEASURED_SECONDS:
                self._advise()
            if now - told >= _LINE_SECONDS:
                told, self._has_told = now, True
                self._tell(self._line())

    def _advise(self) -> None:
        """Print once how to shorten the work, if it takes very long."""
        left = self._seconds_left()
        if self._advice and left is not None and left > _LONG_SECONDS:
            note = f"{self.desc}: about {left / 3600:,.1f} hours to come; {self._advice}"
            self._advice = ""
            self._tell(note)
            if self._draws:
                tqdm.write(note, file=sys.stderr)

    def _tell(self, line: str) -> None:
        try:
            for tell in self._tells:
                tell(line)
        except OSError:  # a closed pipe or a full disk must not end the work
            self._tells = []


def progress_bar(
    iterable: Iterable[Any] | None = None,
    *,
    total: float | None = None,
    unit: str,
    description: str,
    show: bool = True,
    log: Callable[[str], object] | None = None,
    advice: str = "",
) -> ProgressBar:
    """Show the progress of long work on standard error.

    On a terminal it is a bar. Elsewhere it is a line a minute, also while a single step takes
    longer than that, and nothing for work that takes less.

    Parameters
    ----------
    iterable, total : optional
        What to iterate over; the number of units to come.
    unit, description : str
        What is counted, such as ``"event"`` or ``"MB"``, or ``""`` if only the share of the total
        has a meaning; what is being done, in a word or two.
    show : bool
        False shows nothing.
    log : callable, optional
        Receives the lines, also if there is a bar or nothing is shown.
    advice : str
        How to shorten the work; printed once if more than an hour is left.
    """
    return ProgressBar(
        iterable,
        total=total,
        unit=unit,
        description=description,
        show=show,
        log=log,
        advice=advice,
    )


def print_line(line: str) -> None:
    """Print a line on standard output, above any progress bar."""
    tqdm.write(line)


def _print_to_stderr(line: str) -> None:
    print(line, file=sys.stderr, flush=True)


def _count(done: float, noun: str, *, total: float | None) -> str:
    of = f" of {total:,.0f}" if total else ""
    return f"{done:,.0f}{of} {noun if (total or done) == 1 else plural(noun)}"


def _speed(rate: float, noun: str) -> str:
    if rate < 1 and noun.islower():
        return f"{1 / rate:,.1f} s/{noun}"
    return f"{rate:,.{0 if rate >= 10 else 1}f} {plural(noun)}/s"


def _duration(seconds: float) -> str:
    """Write a duration as minutes and seconds, or hours, minutes and seconds."""
    return str(tqdm.format_interval(seconds))
