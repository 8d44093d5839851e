"""Processes: starting and ending them without leaving any behind.

A conversion runs its tasks by `completed` on the executor of `running_on`. Other code that starts
processes does so inside `without_main_script`.
"""

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
from contextlib import contextmanager, nullcontext
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for_any
from types import ModuleType
from typing import Any, ParamSpec, TypeVar

from pilarnet_convert.errors import PilarnetError

__all__ = ["completed", "num_cores", "running_on", "without_main_script"]

_P = ParamSpec("_P")
_T = TypeVar("_T")
_Item = TypeVar("_Item")

#: Modules that a worker needs; the server process imports them once for all workers.
_PRELOAD = ["pilarnet_convert.task"]


def num_cores() -> int:
    """Count the processors that this process may use."""
    return len(os.sched_getaffinity(0))


@contextmanager
def running_on(executor: Executor | None, *, workers: int) -> Iterator[Executor]:
    """Give the user's executor, or start one of so many processes.

    Raises
    ------
    PilarnetError
        If a worker process ends before its task.
    """
    try:
        with _local_executor(workers) if executor is None else nullcontext(executor) as chosen:
            yield chosen
    except BrokenExecutor as error:
        raise PilarnetError(
            "a worker process vanished",
            found="killed from outside, or out of memory",
            advice="go on with --resume, with fewer --workers if memory is short",
        ) from error


def completed(
    executor: Executor, function: Callable[[_Item], _T], items: Iterable[_Item]
) -> Iterator[tuple[_Item, Future[_T]]]:
    """Call a function on each item; give items and futures as the calls end.

    Twice as many calls as there are workers are submitted ahead, so that no worker waits.
    """
    ahead = 2 * getattr(executor, "_max_workers", 128)
    running: dict[Future[_T], _Item] = {}
    try:
        for item in items:
            running[executor.submit(function, item)] = item
            if len(running) >= ahead:
                yield from _take_finished(running)
        while running:
            yield from _take_finished(running)
    finally:
        for future in running:
            future.cancel()


def _take_finished(running: dict[Future[_T], _Item]) -> Iterator[tuple[_Item, Future[_T]]]:
    """Wait until a call has ended; take out those that have, in the order of submission."""
    done = wait(running, return_when=FIRST_COMPLETED).done
    for future in [future for future in running if future in done]:
        yield running.pop(future), future


@contextmanager
def _local_executor(workers: int) -> Iterator[Executor]:
    """Start worker processes; with one worker, tasks run in this process.

    Workers are forked from a server process that has imported the package and does nothing else,
    so that they inherit neither threads nor open files, for example of a notebook. They ignore
    Ctrl-C and end when this process ends, even if it is killed.
    """
    if workers == 1:
        yield _InProcess()
        return
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(_PRELOAD)
    _start_server()
    pool = _Pool(workers, mp_context=context, initializer=_begin_worker)
    try:
        yield pool
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


@contextmanager
def without_main_script() -> Iterator[None]:
    """Start processes that do not run the user's script.

    A process that is not a plain fork of this one first runs the main script again, in case its
    task refers to something defined there. A script without ``if __name__ == "__main__"`` would
    then start anew in every worker, and a script read from standard input cannot be run again.
    Our tasks refer to nothing in it, so the main module is an empty one while processes start:
    `multiprocessing` has no setting for this.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script


class _InProcess(Executor):
    """Runs each task in this process, when it is submitted."""

    _max_workers = 1

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Pool(ProcessPoolExecutor):
    """A process pool in which a signal does not interrupt the start of a worker.

    If this process ended while a worker starts, the worker would print a traceback.
    """

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        with _signals_delayed(signal.SIGINT, signal.SIGTERM), without_main_script():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _signals_delayed(*numbers: signal.Signals) -> Iterator[None]:
    """Deliver signals only at the end of the block.

    Python runs signal handlers in the main thread alone, so elsewhere there is nothing to do.
    Blocking the signals would not help: another thread of the process would receive them.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
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
    """Start the server process from which workers are forked; it and they ignore Ctrl-C.

    Ctrl-C goes to all processes of a terminal. The parent decides which tasks still finish.
    """
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
    """Let glibc keep freed arrays for the next task, which is faster than new memory.

    The numbers of the parameters are those of ``mallopt(3)``.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 1 << 28)
        mallopt(trim_threshold, 1 << 28)
