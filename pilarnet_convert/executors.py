"""Processes: starting and ending them without leaving any behind."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import (
    FIRST_COMPLETED,
    BrokenExecutor,
    Executor,
    Future,
    ProcessPoolExecutor,
    wait,
)
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for_any
from types import ModuleType
from typing import Any, Final, TypeVar

from pilarnet_convert.errors import PilarnetError

__all__ = ["Workers", "running_on", "without_main_script"]

_T = TypeVar("_T")
_Item = TypeVar("_Item")

#: Calls that are submitted ahead to an executor of the user, whose size is not known.
_IN_FLIGHT: Final = 64


@dataclass(frozen=True, kw_only=True)
class Workers:
    """An executor, and how many calls to submit to it before the first has ended."""

    executor: Executor
    in_flight: int

    @classmethod
    def in_this_process(cls) -> Workers:
        """Give a worker that makes each call in this process, when it is submitted."""
        return cls(executor=_InProcess(), in_flight=1)

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
def running_on(executor: Executor | None, *, workers: int | None) -> Iterator[Workers]:
    """Run tasks on the user's executor, or in so many processes, as many as cores by default.

    One worker is this process. Several are forked from a server process that has imported the
    package and does nothing else, so that they inherit neither threads nor open files, for example
    of a notebook. They ignore Ctrl-C and end when this process ends, even if it is killed.
    A worker process that ends before its task is a `PilarnetError`.
    """
    workers = workers or len(os.sched_getaffinity(0))
    try:
        if executor is not None:
            yield Workers(executor=executor, in_flight=_IN_FLIGHT)
        elif workers == 1:
            yield Workers.in_this_process()
        else:
            context: Any = multiprocessing.get_context("forkserver")
            context.set_forkserver_preload(["pilarnet_convert.task"])
            _start_server()
            pool = _Pool(workers, mp_context=context, initializer=_begin_worker)
            try:
                yield Workers(executor=pool, in_flight=2 * workers)
            finally:
                pool.shutdown(wait=True, cancel_futures=True)
    except BrokenExecutor as error:
        raise PilarnetError(
            "a worker process vanished",
            found="killed from outside, or out of memory",
            advice="go on with --resume, with fewer --workers if memory is short",
        ) from error


@contextmanager
def without_main_script() -> Iterator[None]:
    """Start processes, inside the block, that do not run the user's script.

    A process that is not a plain fork first runs the main script again, in case its task needs
    something of it. A script without ``if __name__ == "__main__"`` would then start anew in every
    worker, and one read from standard input cannot be run again. Our tasks need nothing of it, so
    the main module is empty meanwhile; `multiprocessing` has no setting for this.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _InProcess(Executor):
    """Runs each task in this process, when it is submitted."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Pool(ProcessPoolExecutor):
    """A process pool in which no signal makes a starting worker print a traceback."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        with _signals_delayed(signal.SIGINT, signal.SIGTERM), without_main_script():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _signals_delayed(*numbers: signal.Signals) -> Iterator[None]:
    """Deliver signals at the end of the block; if blocked, they would reach another thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread alone
        return
    received: list[int] = []
    before = {n: signal.signal(n, lambda number, _: received.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in received:
            signal.raise_signal(late)


def _start_server() -> None:
    """Start the server process from which workers are forked; it and they ignore Ctrl-C."""
    # Ctrl-C goes to all processes of a terminal; the parent decides which tasks still finish.
    resource_tracker.ensure_running()  # this unblocks SIGINT, so it has to come first
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin_worker() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # in case the server was running already
    # Blosc creates a lock of the default context; a lock of this one leaves no file behind.
    multiprocessing.set_start_method("fork", force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _keep_freed_memory()
    gc.freeze()  # imported modules stay shared with the server if no collection touches them


def _end_with_parent() -> None:
    """End this process when its parent has ended."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait_for_any([parent.sentinel])
        os._exit(1)


def _keep_freed_memory() -> None:
    """Let glibc keep freed arrays for the next task, which is faster than new memory."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3  # parameters of mallopt(3)
        mallopt(mmap_threshold, 1 << 28)
        mallopt(trim_threshold, 1 << 28)
