"""A process that reads, and what crosses the connection to it.

It gets the numbers of a span of particles and answers with arrays, whose bytes cross the
connection. A `DataLoader` would pass them through shared memory, which is small in containers, and
sockets in TMPDIR, whose path may be too long; its processes report neither error, and the run would
wait for ever.
"""

from __future__ import annotations

import pickle
import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from clr_train.stream.reader import BatchArrays, SplitReader

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

__all__ = ["Answer", "receive", "serve"]

#: The arrays of a batch, or the error in their place.
Answer: TypeAlias = BatchArrays | Exception


def serve(connection: Connection, reader: SplitReader) -> None:
    """Read the spans that are asked for until the connection closes."""
    with suppress(EOFError, ConnectionError):
        while True:
            span = connection.recv()
            try:
                answer: Answer = reader.read(span)
            except Exception as error:
                error.add_note(traceback.format_exc())
                answer = error
            send(connection, answer)


def send(connection: Connection, answer: Answer) -> None:
    """Send an answer, then the memory of its arrays, which would be copied if sent inside it."""
    buffers: list[pickle.PickleBuffer] = []
    message = pickle.dumps(answer, protocol=5, buffer_callback=buffers.append)
    arrays = [buffer.raw() for buffer in buffers]
    connection.send((message, [array.nbytes for array in arrays]))
    with open(connection.fileno(), "wb", buffering=0, closefd=False) as file:
        for rest in arrays:
            while rest:
                rest = rest[file.write(rest) :]


def receive(connection: Connection) -> Answer:
    """Receive what `send` sends; EOFError if the connection closes."""
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
    answer: Answer = pickle.loads(message, buffers=arrays)
    return answer
