"""Ending in order when the system or the user asks for it."""

from __future__ import annotations

import signal
import threading
from types import FrameType
from typing import Any, Final

__all__ = ["StopRequest"]

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
