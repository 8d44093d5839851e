"""Ending a run in order after a signal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from pilarnet_convert.console.signals import on_ending_signal

__all__ = ["Interrupted", "StopRequest"]


class Interrupted(BaseException):
    """A signal ended what `StopRequest.interrupting` surrounds."""


class StopRequest:
    """Records SIGTERM, SIGINT, SIGHUP and SIGUSR1 inside its context.

    The training loop reads `signal` between steps and ends with a checkpoint. Repeats are ignored,
    see `on_ending_signal`.
    """

    def __init__(self) -> None:
        #: Number of the signal received, 0 if none.
        self.signal = 0
        self._interrupting = False
        self._stack = ExitStack()

    def __enter__(self) -> StopRequest:
        self._stack.enter_context(on_ending_signal(self._remember))
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

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

    def _remember(self, number: int) -> None:
        self.signal = number
        if self._interrupting:
            raise Interrupted
