"""Where the tasks of a conversion run.

===== ============================================
local processes of this machine
dask  workers of a Dask cluster
===== ============================================
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Executor, Future, wait
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final, TypeVar

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors.dask import connected, executor_of
from pilarnet_convert.executors.local import InProcess, local_executor

__all__ = ["Workers", "running_on"]

_T = TypeVar("_T")
_Item = TypeVar("_Item")

#: Calls that are submitted ahead to an executor whose size is not known.
_IN_FLIGHT: Final = 256


@dataclass(frozen=True, kw_only=True)
class Workers:
    """An executor, and how many calls to submit to it before the first has ended."""

    executor: Executor
    in_flight: int

    @classmethod
    def in_this_process(cls) -> Workers:
        """Return a worker that makes each call in this process, when it is submitted."""
        return cls(executor=InProcess(), in_flight=1)

    def completed(
        self, function: Callable[[_Item], _T], items: Iterable[_Item]
    ) -> Iterator[tuple[_Item, Future[_T]]]:
        """Call a function on each item; give items and futures as the calls end.

        Of calls that have ended, the one submitted first comes first.
        """
        running: dict[Future[_T], _Item] = {}
        waiting = iter(items)
        try:
            while True:
                for item in islice(waiting, self.in_flight - len(running)):
                    running[self.executor.submit(function, item)] = item
                if not running:
                    return
                done = wait(running, return_when=FIRST_COMPLETED).done
                for future in [future for future in running if future in done]:
                    yield running.pop(future), future
        finally:
            for future in running:
                future.cancel()


@contextmanager
def running_on(executor: Any, *, workers: int | None, dask: str | None) -> Iterator[Workers]:
    """Run tasks on the user's executor or Dask client, on a Dask cluster, or on this machine.

    Parameters
    ----------
    executor : Executor, distributed.Client or None
        The user's; it stays open.
    workers : int, optional
        Processes to start on this machine, where neither of the others is given; as many as cores
        by default.
    dask : str, optional
        The address or the file of a Dask scheduler.

    Raises
    ------
    PilarnetError
        If workers end before their tasks, or no Dask scheduler answers.
    """
    with ExitStack() as stack:
        if dask is not None:
            executor = stack.enter_context(connected(dask))
        if executor is not None:
            if not isinstance(executor, Executor):
                executor = stack.enter_context(executor_of(executor))
            chosen = Workers(executor=executor, in_flight=_IN_FLIGHT)
        elif (workers := workers or _num_cores()) == 1:
            chosen = Workers.in_this_process()
        else:
            pool = stack.enter_context(local_executor(workers))
            chosen = Workers(executor=pool, in_flight=2 * workers)
        try:
            yield chosen
        except BrokenExecutor as error:
            raise PilarnetError(
                "a worker process vanished",
                found="killed from outside, or out of memory",
                advice="continue with --resume, with fewer --workers if memory is short",
            ) from error


def _num_cores() -> int:
    """Count the cores that this process may use; macOS does not say which these are."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
