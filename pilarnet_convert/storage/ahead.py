"""Reading ahead in threads, while what was read before is used."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TypeVar

__all__ = ["in_threads"]

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


def in_threads(
    function: Callable[[_Item], _Result], items: Iterable[_Item], *, ahead: int
) -> Iterator[_Result]:
    """Call a function on each item in `ahead` threads, and yield the results in order.

    The error of a call is raised here. Calls that have not begun when the iteration ends are not
    made.
    """
    pool = ThreadPoolExecutor(ahead)
    running: deque[Future[_Result]] = deque()
    try:
        for item in items:
            running.append(pool.submit(function, item))
            if len(running) > ahead:
                yield running.popleft().result()
        while running:
            yield running.popleft().result()
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
