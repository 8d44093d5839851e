"""A small HTTP server with ranges, which counts requests and bytes and can misbehave.

    python -m tests.remote.http_server FOLDER PORT

serves a folder until it is ended, for benchmarks.
"""

from __future__ import annotations

import os
import re
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path


class HttpServer(ThreadingHTTPServer):
    """Serves the files of a folder.

    Set its attributes to make it misbehave: `drop_every` closes the connection of every n-th
    request instead of an answer, `ignore_ranges` sends whole files, `one_range` does so where
    several ranges are asked for, `cut` sends only half of each body, `status` answers with an
    error, and `before` is called with the path of each request.
    """

    daemon_threads = True
    request_queue_size = 64

    def __init__(self, folder: Path, port: int = 0) -> None:
        super().__init__(("127.0.0.1", port), partial(_Handler, folder=folder))
        self.drop_every = 0
        self.ignore_ranges = False
        self.one_range = False
        self.cut = False
        self.status = 200
        self.before: Callable[[str], object] = lambda _path: None
        self.num_requests = 0
        self.num_bytes = 0
        self.count = threading.Lock()

    def handle_error(self, request: object, client_address: object) -> None:
        """Print nothing: clients may close the connection."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: HttpServer

    def __init__(self, *args: object, folder: Path) -> None:
        self.folder = folder
        super().__init__(*args)  # type: ignore[arg-type]

    def log_message(self, *args: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.do_GET(body=False)

    def do_GET(self, *, body: bool = True) -> None:
        server = self.server
        with server.count:
            server.num_requests += 1
            dropped = server.drop_every and server.num_requests % server.drop_every == 0
        if dropped:
            self.close_connection = True
            return
        server.before(self.path)
        path = self.folder / self.path.partition("?")[0].lstrip("/")
        if path.is_dir():
            names = [f"{p.name}/" if p.is_dir() else p.name for p in sorted(path.iterdir())]
            links = "".join(f'<a href="{name}">{name}</a>\n' for name in names)
            self._answer(200, links.encode(), {"Content-Type": "text/html"}, body=body)
        elif server.status != 200:
            self._answer(server.status, b"", {}, body=body)
        elif not path.exists():
            self._answer(404, b"", {}, body=body)
        else:
            self._send_file(path, body=body)

    def _send_file(self, path: Path, *, body: bool) -> None:
        size = path.stat().st_size
        several = re.findall(r"(\d+)-(\d+)", self.headers.get("Range", ""))
        if len(several) > 1 and not (self.server.one_range or self.server.ignore_ranges):
            self._send_ranges(path, [(int(first), int(last)) for first, last in several], body=body)
            return
        wanted = re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", ""))
        if wanted is None or self.server.ignore_ranges:
            with path.open("rb") as stream:
                self._answer(200, stream.read() if body else b"", {"Content-Length": size}, body)
            return
        first = int(wanted[1])
        last = min(int(wanted[2] or size), size - 1)
        if first >= size:
            self._answer(416, b"", {"Content-Range": f"bytes */{size}"}, body=body)
            return
        with path.open("rb") as stream:
            data = os.pread(stream.fileno(), last - first + 1, first)
        headers = {"Content-Range": f"bytes {first}-{last}/{size}", "Accept-Ranges": "bytes"}
        self._answer(206, data, headers, body=body)

    def _send_ranges(self, path: Path, ranges: list[tuple[int, int]], *, body: bool) -> None:
        size = path.stat().st_size
        parts = []
        with path.open("rb") as stream:
            for first, last in ranges:
                head = f"--mark\r\nContent-Range: bytes {first}-{last}/{size}\r\n\r\n"
                data = os.pread(stream.fileno(), last - first + 1, first)
                parts += [head.encode(), data, b"\r\n"]
        headers = {"Content-Type": "multipart/byteranges; boundary=mark"}
        self._answer(206, b"".join([*parts, b"--mark--\r\n"]), headers, body=body)

    def _answer(self, status: int, data: bytes, headers: dict[str, object], body: bool) -> None:
        self.send_response(status)
        for name, value in {"Content-Length": len(data), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if body:
            if self.server.cut and status == 206:
                data = data[: len(data) // 2]
                self.close_connection = True
            with self.server.count:
                self.server.num_bytes += len(data)
            self.wfile.write(data)


@contextmanager
def http_server(folder: Path) -> Iterator[HttpServer]:
    """Serve a folder in threads of this process."""
    server = HttpServer(folder)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


if __name__ == "__main__":
    HttpServer(Path(sys.argv[1]), int(sys.argv[2])).serve_forever()
