"""An S3 server for tests and benchmarks: moto's.

    python -m tests.remote.s3_server PORT [MILLISECONDS]

serves until it is ended, and adds so many milliseconds to each request.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

#: What boto and s3fs take from the environment.
CREDENTIALS = {
    "AWS_ACCESS_KEY_ID": "testing",
    "AWS_SECRET_ACCESS_KEY": "testing",
    "AWS_DEFAULT_REGION": "us-east-1",
}


class S3Server:
    """Moto's server in threads of this process; it records the requests."""

    def __init__(self, *, port: int = 0, delay_s: float = 0.0) -> None:
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
        from werkzeug.serving import WSGIRequestHandler, make_server

        class Quiet(WSGIRequestHandler):
            protocol_version = "HTTP/1.1"

            def log(self, *args: object) -> None:
                pass

        self.delay_s = delay_s
        self.bucket = ""
        self.requests: list[str] = []
        self.num_bytes = 0
        self.refused: Callable[[str, str], bool] = lambda _method, _path: False
        self._application = DomainDispatcherApplication(create_backend_app)
        self._server = make_server(
            "127.0.0.1", port, self._answer, threaded=True, request_handler=Quiet
        )

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._server.server_port}"

    def _answer(self, environ: dict[str, Any], start: Callable[..., Any]) -> Iterable[bytes]:
        method, path = environ["REQUEST_METHOD"], environ["PATH_INFO"]
        self.requests.append(f"{method} {path}")
        time.sleep(self.delay_s)
        if self.refused(method, path):
            start("403 Forbidden", [("Content-Type", "application/xml")])
            if method == "HEAD":  # a body would be taken for the next answer
                return []
            return [b"<Error><Code>AccessDenied</Code><Message>Access Denied</Message></Error>"]
        body = b"".join(self._application(environ, start))
        self.num_bytes += len(body)
        return [body]

    def serve(self) -> None:
        self._server.serve_forever()

    def close(self) -> None:
        self._server.shutdown()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """Serve in threads of this process, and name the server in the environment."""
    server = S3Server()
    thread = threading.Thread(target=server.serve, daemon=True)
    thread.start()
    before = dict(os.environ)
    os.environ |= {**CREDENTIALS, "AWS_ENDPOINT_URL": server.url}
    try:
        yield server
    finally:
        os.environ.clear()
        os.environ.update(before)
        server.close()


if __name__ == "__main__":
    S3Server(port=int(sys.argv[1]), delay_s=float([*sys.argv, "0"][2]) / 1000).serve()
