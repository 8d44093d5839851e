"""Reading spans of particles: in other processes, in threads or in this thread.

A process that reads has a connection of its own: it gets the numbers of a span and answers with
arrays, whose bytes cross the connection. A `DataLoader` would pass them through shared memory,
which is small in containers, and sockets in TMPDIR, whose path may be too long; its processes
report neither error, and the run would wait for ever.
"""

from __future__ import annotations

import atexit
import multiprocessing
import pickle
import signal
import traceback
import weakref
from collections import deque
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import fields
from itertools import islice
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from typing import Final, NamedTuple, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.stream.reader import SplitReader
from pilarnet_convert.console.signals import ENDING_SIGNALS
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors.local import signals_blocked, without_main_script
from pilarnet_convert.storage.ahead import in_threads

__all__ = ["SpanLoader"]

#: Seconds that a process has to end when its connection is closed.
_PATIENCE = 5
#: Spans of remote shards that are read before they are used.
_SPANS_AHEAD: Final = 2

#: The arrays of a batch by name, or the error in their place.
_Answer: TypeAlias = dict[str, NDArray[np.generic]] | Exception


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
            batches = self._read_ahead(iter(spans))
        elif self.reader.is_remote:
            batches = in_threads(self.reader.read, spans, ahead=_SPANS_AHEAD)
        else:
            batches = map(self.reader.read, spans)
        for batch in batches:
            yield batch.pin_memory() if self.pin_memory else batch

    def _read_ahead(self, spans: Iterator[NDArray[np.int64]]) -> Iterator[ParticleBatch]:
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
            yield ParticleBatch(**{name: torch.from_numpy(a) for name, a in answer.items()})

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        for _ in range(self.workers):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(theirs, self.reader), daemon=True)
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

    def _answer(self, worker: _Worker) -> _Answer:
        try:
            return _receive(worker.connection)
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


def _serve(connection: Connection, reader: SplitReader) -> None:
    """Read the spans that are asked for until the connection closes."""
    with suppress(EOFError, ConnectionError):
        while True:
            span = connection.recv()
            try:
                batch = reader.read(span)
            except Exception as error:
                error.add_note(traceback.format_exc())
                _send(connection, error)
            else:
                _send(connection, {f.name: getattr(batch, f.name).numpy() for f in fields(batch)})


def _send(connection: Connection, answer: _Answer) -> None:
    """Send an answer, then the memory of its arrays, which would be copied if sent inside it."""
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    connection.send((message, [array.nbytes for array in arrays]))
    with open(connection.fileno(), "wb", buffering=0, closefd=False) as file:
        for rest in arrays:
            while rest:
                rest = rest[file.write(rest) :]


def _receive(connection: Connection) -> _Answer:
    """Receive what `_send` sends; EOFError if the connection closes."""
    message, sizes = connection.recv()
    arrays = [np.empty(size, np.uint8) for size in sizes]
    with open(connection.fileno(), "rb", buffering=0, closefd=False) as file:
        for array in arrays:
            rest = array.data
            while rest:
                count = file.readinto(rest)
                if not count:
                    raise EOFError
                rest = rest[count:]
    answer: _Answer = pickle.loads(message, buffers=arrays)
    return answer


def _close(reference: weakref.ref[SpanLoader]) -> None:
    loader = reference()
    if loader is not None:
        loader.close()
