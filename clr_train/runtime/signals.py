"""Ending in order when the system or the user asks for it."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any, Final

__all__ = ["StopRequest", "hold_signals"]

_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)


class StopRequest:
    """Remembers SIGTERM (a batch system's warning) and SIGINT (Ctrl-C) while it is entered.

    The loop looks at `signal` between steps and ends with a checkpoint. A second signal has its
    usual effect at once. Outside the main thread, where Python delivers no signals, it does
    nothing.
    """

    def __init__(self) -> None:
        #: Number of the signal that came, 0 before.
        self.signal = 0
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        self.release()

    def release(self) -> None:
        """Give the signals their usual effect again."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.release()


@contextmanager
def hold_signals() -> Iterator[None]:
    """Start processes that a signal to the whole group passes by.

    Signals are held back, and delivered at the end; processes that are started meanwhile hold
    them back for good. A terminal and a batch system signal all processes of a job: those that
    read would die before the run that reads from them can end in order.
    """
    # It starts with the first process that is spawned, and releases the signals when it does.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
