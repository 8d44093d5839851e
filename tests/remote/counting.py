"""Counting the bytes that a conversion needs, and those that servers send."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from pilarnet_convert.readers.larcv2 import Larcv2Source


def needed_bytes(source: Larcv2Source) -> int:
    """Add up the baskets of the branches that are read, as the file's own tables give them."""
    tables = [*source.clusters.branches.values(), *source.particles.branches.values()]
    return sum(int(table.num_bytes.sum()) for table in tables)


class CountingProxy:
    """Forwards connections to a port of this machine; `num_bytes` counts the bytes of answers."""

    def __init__(self, to_port: int) -> None:
        self.num_bytes = 0
        self._to_port = to_port
        self._count = threading.Lock()
        self._listening = socket.create_server(("localhost", 0))
        self.port: int = self._listening.getsockname()[1]

    def serve(self) -> None:
        while True:
            try:
                client, _ = self._listening.accept()
            except OSError:
                return
            server = socket.create_connection(("localhost", self._to_port))
            for ends in ((client, server), (server, client)):
                threading.Thread(target=self._pass_on, args=ends, daemon=True).start()

    def _pass_on(self, source: socket.socket, target: socket.socket) -> None:
        back = source.getpeername()[1] == self._to_port
        with suppress(OSError):  # the other end hung up
            while data := source.recv(65_536):
                with self._count:
                    self.num_bytes += len(data) if back else 0
                target.sendall(data)
        target.close()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._listening.close()


@contextmanager
def counting_proxy(to_port: int) -> Iterator[CountingProxy]:
    """Forward connections in threads of this process."""
    proxy = CountingProxy(to_port)
    threading.Thread(target=proxy.serve, daemon=True).start()
    try:
        yield proxy
    finally:
        proxy.close()
