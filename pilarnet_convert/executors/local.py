"""Processes of this machine: starting and ending them without leaving any behind."""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait as wait_for_any
from multiprocessing.context import ForkServerContext, ForkServerProcess
from types import ModuleType
from typing import Any, Final, TypeVar

from pilarnet_convert.console.signals import ENDING_SIGNALS

__all__ = ["InProcess", "local_executor", "signals_blocked", "without_main_script"]

_T = TypeVar("_T")

#: What a worker needs to start and for its first task, imported once, by the server.
_PRELOADED: Final = [
    "concurrent.futures.process",
    "numpy.ma",
    "pilarnet_convert.executors.local",
    "pilarnet_convert.readers.larcv2",
    "pilarnet_convert.task",
]


@contextmanager
def local_executor(workers: int) -> Iterator[Executor]:
    """Start processes.

    Workers are forked from a server process that has imported the package and does nothing else,
    so that they inherit neither threads nor open files, for example of a notebook. They ignore
    Ctrl-C, and end when this process ends, even if it is killed, and when the block ends with an
    error.
    """
    context = _Context()
    context.set_forkserver_preload(_PRELOADED)
    _start_server()
    pool = _Pool(workers, mp_context=context, initializer=_begin_worker)
    try:
        yield pool
    except BaseException:
        # No task that still runs is waited for. A pool that broke while it started a worker would
        # wait for that worker for ever.
        context.kill()
        raise
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


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


@contextmanager
def signals_blocked(numbers: Collection[int]) -> Iterator[None]:
    """Block signals inside the block, and for good in processes that start in it.

    Signals that arrive meanwhile are delivered at its end.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
    try:
        # The tracker starts with the first process, and then unblocks SIGINT and SIGTERM.
        resource_tracker.ensure_running()
        signal.pthread_sigmask(signal.SIG_BLOCK, numbers)
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


class InProcess(Executor):
    """Runs each task in this process, when it is submitted."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        """Run the call, and return a finished future."""
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Context(ForkServerContext):
    """Keeps the processes that it makes."""

    def __init__(self) -> None:
        super().__init__()
        self._made: list[ForkServerProcess] = []

    def Process(self, *args: Any, **kwargs: Any) -> ForkServerProcess:  # type: ignore[override]
        process = ForkServerProcess(*args, **kwargs)
        self._made.append(process)
        return process

    def kill(self) -> None:
        """Kill all that were started."""
        for process in self._made:
            if process.pid is not None:
                process.kill()


class _Pool(ProcessPoolExecutor):
    """A process pool in which no signal makes a starting worker print a traceback."""

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        with _signals_delayed(), without_main_script():
            try:
                return super().submit(fn, *args, **kwargs)
            except (EOFError, OSError) as error:
                raise BrokenProcessPool("a worker ended while it started") from error


@contextmanager
def _signals_delayed() -> Iterator[None]:
    """Deliver signals at the end of the block; if blocked, they would reach another thread."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Python runs signal handlers in the main thread alone
        return
    received: list[int] = []
    before = {
        n: signal.signal(n, lambda number, _: received.append(number)) for n in ENDING_SIGNALS
    }
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for late in received:
            signal.raise_signal(late)


def _start_server() -> None:
    """Start the server process from which workers are forked.

    It and they ignore what a terminal or a batch system sends to all processes of a job: the
    parent decides which tasks still finish. SIGTERM ends them, as the pool itself sends it.
    """
    with signals_blocked({signal.SIGHUP, signal.SIGUSR1, signal.SIGINT}):
        forkserver.ensure_running()


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
