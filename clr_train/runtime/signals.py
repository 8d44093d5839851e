"""Ending a run in order after SIGTERM or SIGINT."""

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
    """Records SIGTERM (from a batch system) and SIGINT (Ctrl-C) inside its context.

    The training loop reads `signal` between steps and ends with a checkpoint. A second signal has
    its usual effect. Outside the main thread, where Python delivers no signals, this does nothing.
    """

    def __init__(self) -> None:
        #: Number of the signal received, 0 if none.
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
        """Restore the usual effect of the signals."""
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        self.signal = number
        self.release()


@contextmanager
def hold_signals() -> Iterator[None]:
    """Block SIGTERM and SIGINT inside this context, and for good in processes started in it.

    A terminal or a batch system signals all processes of a job: those that read shards would end
    before the run can. Signals that arrive in the context are delivered at its end.
    """
    # The tracker starts with the first spawned process and would then unblock the signals.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
