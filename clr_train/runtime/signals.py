"""Ending a run in order after a signal."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import resource_tracker
from types import FrameType
from typing import Any, Final

__all__ = ["Interrupted", "StopRequest", "hold_signals"]

#: What batch systems and terminals send to end a job.
_SIGNALS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1)
#: Seconds in which further signals mean the first: a batch system signals a launcher, which
#: passes it on, and the processes of the job.
_REPEAT_SECONDS: Final = 15.0


class Interrupted(BaseException):
    """A signal ended what `StopRequest.interrupting` surrounds."""


class StopRequest:
    """Records SIGTERM, SIGINT, SIGHUP and SIGUSR1 inside its context.

    The training loop reads `signal` between steps and ends with a checkpoint. Signals in the 15
    seconds after the first are ignored; one that comes later has its usual effect. A signal that
    was ignored before, as under nohup, stays so. Outside the main thread, where Python delivers no
    signals, this does nothing.
    """

    def __init__(self) -> None:
        #: Number of the signal received, 0 if none.
        self.signal = 0
        self._received_at = 0.0
        self._interrupting = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> StopRequest:
        if threading.current_thread() is threading.main_thread():
            for number in _SIGNALS:
                if signal.getsignal(number) != signal.SIG_IGN:
                    self._before[number] = signal.signal(number, self._remember)
        return self

    def __exit__(self, *_: object) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    @contextmanager
    def interrupting(self) -> Iterator[None]:
        """Raise `Interrupted` inside the context as soon as there is a signal.

        For work that may be given up at any point, such as an evaluation.
        """
        self._interrupting = True
        try:
            if self.signal:
                raise Interrupted
            yield
        finally:
            self._interrupting = False

    def _remember(self, number: int, _frame: FrameType | None) -> None:
        now = time.monotonic()
        if not self.signal:
            self.signal, self._received_at = number, now
            if self._interrupting:
                raise Interrupted
        elif now - self._received_at > _REPEAT_SECONDS:
            signal.signal(number, self._before[number])
            signal.raise_signal(number)


@contextmanager
def hold_signals() -> Iterator[None]:
    """Block the signals that end a run inside this context, and for good in processes it starts.

    Signals that arrive in the context are delivered at its end.
    """
    # The tracker starts with the first spawned process and would then unblock the signals.
    resource_tracker.ensure_running()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
