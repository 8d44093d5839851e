"""A local server that answers as the documented APIs of the two archives do.

The Open Science Framework: ``/v2/guids/ID/`` leads on to ``/v2/files/.../``, whose document has
name, size, checksums and the link to download, which leads on to the storage; folders and
components of a project come in pages. The Hugging Face hub: the pages of
``/api/datasets/REPOSITORY/tree/REVISION``, which a Link header names, and
``/datasets/REPOSITORY/resolve/REVISION/PATH``, which leads on too.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

__all__ = ["Archives", "served"]

_PAGE = 2  # items of a page


@dataclass
class Archives:
    """What the server has, and how it fails."""

    #: Files by identifier: folder, name and bytes.
    osf: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    #: Files of the second component of the project.
    component: dict[str, tuple[str, str, bytes]] = field(default_factory=dict)
    #: Files by path.
    hub: dict[str, bytes] = field(default_factory=dict)
    #: For each of the next downloads, after how many bytes the connection is dropped.
    drops: list[int] = field(default_factory=list)
    #: How many of the next requests get the status 503.
    unavailable: int = 0
    ignores_ranges: bool = False
    #: A checksum to list in place of the right one.
    wrong_sha256: str | None = None
    #: Path and Range header of every request.
    requests: list[tuple[str, str | None]] = field(default_factory=list)
    #: Downloads at the same time, now and at most.
    running: int = 0
    most_running: int = 0
    #: Downloads wait until so many have run at the same time.
    together: int = 1
    address: str = ""
    lock: threading.Lock = field(default_factory=threading.Lock)

    def sha256(self, data: bytes) -> str:
        return self.wrong_sha256 or hashlib.sha256(data).hexdigest()

    def osf_item(self, identifier: str) -> dict[str, Any]:
        folder, name, data = (self.osf | self.component)[identifier]
        hashes = {"sha256": self.sha256(data), "md5": hashlib.md5(data).hexdigest()}
        return {
            "id": f"id-{identifier}",
            "type": "files",
            "attributes": {
                "name": name,
                "kind": "file",
                "materialized_path": f"/{folder}{name}",
                "size": len(data),
                "extra": {"hashes": hashes},
            },
            "links": {"download": f"{self.address}/download/{identifier}/"},
        }

    def osf_listing(self, path: str, node: str) -> list[dict[str, Any]]:
        """Return what a folder holds: here, one level of folders."""
        files = self.component if node == "child" else self.osf
        folder = path.partition("/osfstorage/")[2]
        items = [self.osf_item(i) for i, (inside, _, _) in files.items() if inside == folder]
        folders = sorted({inside for inside, _, _ in files.values() if inside and not folder})
        for name in folders:
            href = f"{self.address}/v2/nodes/{node}/files/osfstorage/{name}"
            items.append(
                {
                    "attributes": {"name": name.strip("/"), "kind": "folder"},
                    "relationships": {"files": {"links": {"related": {"href": href}}}},
                    "links": {},
                }
            )
        return items

    def hub_items(self) -> list[dict[str, Any]]:
        folders = sorted({path.rpartition("/")[0] for path in self.hub} - {""})
        items: list[dict[str, Any]] = [
            {"type": "directory", "oid": "0" * 40, "size": 0, "path": folder} for folder in folders
        ]
        for path, data in sorted(self.hub.items()):
            item = {"type": "file", "oid": "1" * 40, "size": len(data), "path": path}
            if path.endswith(".h5"):  # kept in large-file storage
                item["lfs"] = {"oid": self.sha256(data), "size": len(data), "pointerSize": 134}
            items.append(item)
        return items


class _Handler(BaseHTTPRequestHandler):
    archives: Archives

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        have = self.archives
        url = urlsplit(self.path)
        parts = url.path.strip("/").split("/")
        with have.lock:
            have.requests.append((url.path, self.headers["Range"]))
            unavailable = have.unavailable > 0
            have.unavailable -= unavailable
        if unavailable:
            self._answer(b"", status=503)
        elif parts[:2] == ["v2", "guids"]:
            self._lead_on(f"/v2/files/id-{parts[2]}/")
        elif parts[:2] == ["v2", "files"]:
            identifier = parts[2].removeprefix("id-")
            if identifier in have.osf:
                self._json({"data": have.osf_item(identifier)})
            else:
                self._answer(b'{"errors": [{"detail": "Not found."}]}', status=404)
        elif parts[:2] == ["v2", "nodes"] and parts[3] == "children":
            children = [{"id": "child"}] if parts[2] == "vruzp" and have.component else []
            self._json({"data": children, "links": {"next": None}})
        elif parts[:2] == ["v2", "nodes"]:
            self._osf_page(have.osf_listing(url.path, parts[2]), url.query)
        elif parts[0] == "api":
            self._hub_page(have.hub_items(), url.query)
        elif parts[0] == "datasets":
            self._lead_on("/storage/hub/" + "/".join(parts[5:]))
        elif parts[0] == "download":
            self._lead_on(f"/storage/osf/{parts[1]}")
        elif parts[:2] == ["storage", "osf"]:
            self._file((have.osf | have.component)[parts[2]][2])
        else:
            self._file(have.hub["/".join(parts[2:])])

    def _osf_page(self, items: list[dict[str, Any]], query: str) -> None:
        page = int(parse_qs(query).get("page", ["1"])[0])
        address = f"{self.archives.address}{self.path.partition('?')[0]}?page={page + 1}"
        following = address if page * _PAGE < len(items) else None
        data = items[(page - 1) * _PAGE : page * _PAGE]
        self._json({"data": data, "links": {"next": following}})

    def _hub_page(self, items: list[dict[str, Any]], query: str) -> None:
        assert parse_qs(query)["recursive"] == ["true"]
        first = int(parse_qs(query).get("cursor", ["0"])[0])
        headers = {}
        if first + _PAGE < len(items):
            path = self.path.partition("&cursor")[0]
            address = f"{self.archives.address}{path}&cursor={first + _PAGE}"
            headers["Link"] = f'<{address}>; rel="next"'
        self._answer(json.dumps(items[first : first + _PAGE]).encode(), headers=headers)

    def _lead_on(self, path: str) -> None:
        self._answer(b"", status=302, headers={"Location": self.archives.address + path})

    def _json(self, document: Any) -> None:
        self._answer(json.dumps(document).encode())

    def _answer(
        self, data: bytes, *, status: int = 200, headers: dict[str, str] | None = None
    ) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(data))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _file(self, data: bytes) -> None:
        have = self.archives
        start = 0
        if self.headers["Range"] and not have.ignores_ranges:
            start = int(self.headers["Range"].removeprefix("bytes=").rstrip("-"))
        with have.lock:
            have.running += 1
            have.most_running = max(have.most_running, have.running)
            drop = have.drops.pop(0) if have.drops else None
        for _ in range(3000):
            if have.most_running < have.together:
                time.sleep(0.01)
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self.wfile.write(data[start:] if drop is None else data[start : start + drop])
        self.wfile.flush()
        self.close_connection = True
        with have.lock:
            have.running -= 1


@contextmanager
def served(archives: Archives) -> Iterator[str]:
    """Serve the archives on a free port, and return the address."""
    handler = type("Handler", (_Handler,), {"archives": archives})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    archives.address = f"http://127.0.0.1:{server.server_address[1]}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield archives.address
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
