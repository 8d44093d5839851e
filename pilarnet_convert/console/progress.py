"""Progress of long work: a bar on a terminal, a line a minute in the log of a batch job."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Any, Final

from tqdm import tqdm

__all__ = ["ProgressBar", "print_line", "progress_bar"]

#: Seconds between two looks at the work, and looks between two lines.
_TICK_SECONDS: Final = 20.0
_TICKS_A_LINE: Final = 3
#: Work with more left than this gets the advice how to shorten it.
_LONG_SECONDS: Final = 3600.0


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
            smoothing=0,  # the average over all of the work: an estimate that does not jump
            bar_format="{desc}: {percentage:3.0f} % |{bar}| {facts} [{elapsed}<{remaining}]",
            file=sys.stderr if self._draws else io.StringIO(),
            disable=not (show or self._tells),
        )
        if not self.disable and (self._tells or advice):
            threading.Thread(target=self._watch, daemon=True).start()

    def begin_at(self, done: float) -> None:
        """Count so many units as done before the work that the rate is taken from."""
        if not self.disable:
            self.initial = self.n = done
            self.start_t = self._time()
            self.refresh()

    def foresee(self, seconds: float) -> None:
        """Say how to shorten the work, before it begins, if it is estimated to take very long."""
        if self._advice and seconds > _LONG_SECONDS:
            note = f"{self.desc}: about {seconds / 3600:,.1f} hours to come; {self._advice}"
            self._advice = ""
            self._tell(note)
            if self._draws:
                tqdm.write(note, file=sys.stderr)

    @property
    def format_dict(self) -> dict[str, Any]:
        """What the bar shows, by name."""
        return {**super().format_dict, "facts": ", ".join(self._facts())}

    def display(self, msg: str | None = None, pos: int | None = None) -> bool:
        """Draw the bar, on a terminal alone."""
        return bool(super().display(msg, pos)) if self._draws else True

    def close(self) -> None:
        """End the bar; where lines were told, the last says what was done."""
        first_time = not self._ended.is_set()
        self._ended.set()
        if first_time and self._has_told:
            took = _duration(super().format_dict["elapsed"])
            self._tell(f"{self.desc}: {', '.join(self._facts())}; ended after {took}")
        super().close()

    def _line(self) -> str:
        share = [f"{self.n / self.total:.0%}".replace("%", " %")] if self.total else []
        left = self._seconds_left()
        ahead = [] if left is None else [f"{_duration(left)} left"]
        return f"{self.desc}: {', '.join([*share, *self._facts(), *ahead])}"

    def _facts(self) -> list[str]:
        """Give what is done, how fast, and what was said last."""
        facts = []
        if self._noun:
            of = f" of {self.total:,}" if self.total else ""
            plural = "" if (self.total or self.n) == 1 else "s"
            facts.append(f"{self.n:,}{of} {self._noun}{plural}")
            rate = self._rate()
            if rate:
                facts.append(
                    f"{rate:,.0f} {self._noun}s/s" if rate >= 10
                    else f"{rate:.1f} {self._noun}s/s" if rate >= 1
                    else f"{1 / rate:,.1f} s/{self._noun}"
                )  # fmt: skip
        return [*facts, self.postfix] if self.postfix else facts

    def _rate(self) -> float | None:
        """Give the units a second since the start, None before the first."""
        seconds = super().format_dict["elapsed"]
        done = self.n - self.initial
        return float(done / seconds) if done > 0 and seconds > 0 else None

    def _seconds_left(self) -> float | None:
        rate = self._rate()
        if rate is None or not self.total or self.n >= self.total:
            return None
        return float((self.total - self.n) / rate)

    def _watch(self) -> None:
        """Tell a line now and then, and once the advice if there is much to do."""
        ticks = 0
        while not self._ended.wait(_TICK_SECONDS):
            ticks += 1
            left = self._seconds_left()
            if left is not None:
                self.foresee(left)
            if ticks % _TICKS_A_LINE == 0:
                self._has_told = True
                self._tell(self._line())

    def _tell(self, line: str) -> None:
        try:
            for tell in self._tells:
                tell(line)
        except OSError:  # a closed pipe or a full disk does not end the work
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
        What is counted, such as ``"event"``, or ``""`` where only the share of the total has a
        meaning; what is being done, in a word or two.
    show : bool
        False shows nothing.
    log : callable, optional
        Receives the lines, also where there is a bar, or nothing is shown.
    advice : str
        How to shorten the work: said once where more than an hour is to come.
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


def _duration(seconds: float) -> str:
    """Write a duration as minutes and seconds, or hours, minutes and seconds."""
    return str(tqdm.format_interval(seconds))
