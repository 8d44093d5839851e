"""Signals that ask a program to end."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any, Final

__all__ = ["ENDING_SIGNALS", "Stopped", "on_ending_signal", "stop_at_signal"]

#: The signals that batch systems and terminals send to end a job.
ENDING_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
#: Signals within this many seconds count as repeats of the first: a batch system signals both the
#: processes of a job and their launcher, which passes the signal on.
_REPEAT_SECONDS: Final = 15.0


class Stopped(KeyboardInterrupt):
    """A signal asked the program to end.

    Parameters
    ----------
    number : int
        The signal.
    kept : str
        What is kept, and how to continue.
    """

    def __init__(self, number: int, kept: str = "what was finished is kept") -> None:
        super().__init__(number, kept)
        self.number, self.kept = number, kept

    def __str__(self) -> str:
        return f"stopped by {signal.Signals(self.number).name}; {self.kept}"


class _First:
    """How many contexts of `on_ending_signal` are open, and the time (s) of the first signal."""

    waiting = 0
    at = 0.0


@contextmanager
def on_ending_signal(act: Callable[[int], object]) -> Iterator[None]:
    """Call `act` with the number of the first signal that asks the program to end.

    Signals in the 15 seconds after it are ignored, also by contexts around this one; a later one
    has the effect that it had before. A signal that was ignored before, as under nohup, stays so.
    Outside the main thread, where Python delivers no signals, this does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before: dict[int, Any] = {
        number: handler
        for number in ENDING_SIGNALS
        if (handler := signal.getsignal(number)) not in (signal.SIG_IGN, None)
    }
    came = False

    def handle(number: int, _frame: FrameType | None) -> None:
        nonlocal came
        now = time.monotonic()
        if _First.at and now - _First.at <= _REPEAT_SECONDS:
            return
        if came:
            signal.signal(number, before[number])
            signal.raise_signal(number)
            return
        came, _First.at = True, now
        act(number)

    if not _First.waiting:
        _First.at = 0.0
    _First.waiting += 1
    try:
        for number in before:
            signal.signal(number, handle)
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
        _First.waiting -= 1


@contextmanager
def stop_at_signal() -> Iterator[None]:
    """Raise `Stopped` at the first signal that asks the program to end."""

    def stop(number: int) -> None:
        raise Stopped(number)

    with on_ending_signal(stop):
        yield
