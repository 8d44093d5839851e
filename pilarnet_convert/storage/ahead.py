"""Reading ahead in threads, while what was read before is used.

A program that ends does not wait for these threads, as it does for those of a pool: a server may
take minutes to answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future
from threading import Thread
from typing import Any, TypeVar

__all__ = ["ThreadPerCall", "in_threads"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


class ThreadPerCall(Executor):
    """Makes each call in a thread of its own."""

    def submit(self, fn: Callable[..., _Result], /, *args: Any, **kwargs: Any) -> Future[_Result]:
        """Begin the call."""
        future: Future[_Result] = Future()
        future.set_running_or_notify_cancel()

        def call() -> None:
            try:
                future.set_result(fn(*args, **kwargs))
            except BaseException as error:
                future.set_exception(error)

        Thread(target=call, daemon=True).start()
        return future


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int
) -> Iterator[_Result]:
    """Call a function on each item in `ahead` threads, and yield the results in order.

    The error of a call is raised here. Calls that have not begun when the iteration ends are not
    made.
    """
    threads = ThreadPerCall()
    running: deque[Future[_Result]] = deque()
    for item in items:
        done = [running.popleft().result()] if len(running) == ahead else []
        running.append(threads.submit(function, item))
        yield from done
    while running:
        yield running.popleft().result()
