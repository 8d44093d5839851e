"""Reading ahead in threads, while what was read before is used.

A program that ends does not wait for these threads, as it does for those of a pool: a server may
take minutes to answer.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from threading import Thread
from typing import TypeVar

__all__ = ["in_thread", "in_threads"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_thread(function: Callable[[_Item], _Result], item: _Item) -> Future[_Result]:
    """Call a function in a thread of its own."""
    future: Future[_Result] = Future()

    def call() -> None:
        try:
            future.set_result(function(item))
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
    running: deque[Future[_Result]] = deque()
    for item in items:
        done = [running.popleft().result()] if len(running) == ahead else []
        running.append(in_thread(function, item))
        yield from done
    while running:
        yield running.popleft().result()
