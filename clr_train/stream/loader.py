"""Reading spans of particles: in other processes (see `worker`), in threads or in this thread."""

from __future__ import annotations

import atexit
import multiprocessing
import signal
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.stream.reader import BatchArrays, SplitReader
from clr_train.stream.worker import Answer, receive, serve
from pilarnet_convert.console.signals import ENDING_SIGNALS
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors.local import signals_blocked, without_main_script
from pilarnet_convert.storage.ahead import in_threads

__all__ = ["SpanLoader"]

#: Seconds that a process has to end when its connection is closed.
_PATIENCE = 5
#: Spans of remote shards that are read before they are used.
_SPANS_AHEAD: Final = 2


class _Worker(NamedTuple):
    """A process that reads, and the connection to it."""

    process: BaseProcess
    connection: Connection


class SpanLoader:
    """Reads spans of particles (see `sampling`), ahead of time if there are `workers`.

    These are other processes, which start with the first span. Without any, remote shards are read
    ahead in threads. With `pin_memory`, spans are in page-locked memory.
    """

    def __init__(self, reader: SplitReader, *, workers: int, pin_memory: bool) -> None:
        self.reader, self.workers, self.pin_memory = reader, workers, pin_memory
        self._running: list[_Worker] = []
        #: Workers that have a span to read, the next to answer first.
        self._busy: deque[_Worker] = deque()
        self._iteration = 0
        if workers:
            # At exit the processes must end before the modules that they need are torn down.
            atexit.register(_close, weakref.ref(self))

    def read(self, spans: Iterable[NDArray[np.int64]]) -> Iterator[ParticleBatch]:
        """Read spans of particles, each as one batch; a second iteration ends the first.

        A PilarnetError is raised if a shard is damaged or a process that reads died.
        """
        self._iteration += 1
        if self.workers:
            answers = self._read_ahead(iter(spans))
        elif self.reader.is_remote:
            answers = in_threads(self.reader.read, spans, ahead=_SPANS_AHEAD)
        else:
            answers = map(self.reader.read, spans)
        for batch in map(ParticleBatch.from_arrays, answers):
            yield batch.pin_memory() if self.pin_memory else batch

    def _read_ahead(self, spans: Iterator[NDArray[np.int64]]) -> Iterator[BatchArrays]:
        iteration = self._iteration
        if not self._running:
            self._start()
        while self._busy:  # of an iteration that was abandoned
            self._answer(self._busy.popleft())
        for worker, span in zip(self._running, islice(spans, self.workers), strict=False):
            self._ask(worker, span)
        while self._busy and iteration == self._iteration:
            worker = self._busy.popleft()
            answer = self._answer(worker)
            for span in islice(spans, 1):
                self._ask(worker, span)
            if isinstance(answer, Exception):
                raise answer
            yield answer

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for _ in range(self.workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=serve, args=(theirs, self.reader), daemon=True)
            # A terminal or a batch system signals all processes of a job: those that read would
            # end before the run can. They end when their connection closes.
            try:
                with signals_blocked(ENDING_SIGNALS), without_main_script(), theirs:
                    process.start()
            except ConnectionError as error:  # it ended while it started
                raise self._died(process) from error
            self._running.append(_Worker(process, ours))

    def _ask(self, worker: _Worker, span: NDArray[np.int64]) -> None:
        # A worker has one span at a time: two ends that both send would wait for each other.
        try:
            worker.connection.send(span)
        except ConnectionError as error:
            raise self._died(worker.process) from error
        self._busy.append(worker)

    def _answer(self, worker: _Worker) -> Answer:
        try:
            return receive(worker.connection)
        except (EOFError, ConnectionError) as error:
            raise self._died(worker.process) from error
        except BaseException:  # of a signal: the rest of the answer would be read as the next
            self.close()
            raise

    def _died(self, process: BaseProcess) -> PilarnetError:
        process.join(_PATIENCE)
        code = process.exitcode
        self.close()
        return PilarnetError(
            "a process that reads shards died",
            file=self.reader.shards,
            found=signal.Signals(-code).name if code and code < 0 else f"exit code {code}",
            advice="it may have run out of memory: try fewer --workers, or none",
        )

    def close(self) -> None:
        """End the processes; the next iteration starts new ones."""
        self._iteration += 1
        running, self._running = self._running, []
        self._busy.clear()
        for worker in running:
            worker.connection.close()
        for worker in running:
            worker.process.join(_PATIENCE)
            worker.process.kill()


def _close(reference: weakref.ref[SpanLoader]) -> None:
    loader = reference()
    if loader is not None:
        loader.close()
