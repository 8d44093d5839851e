"""Many ranges of a file in one request, from web servers that allow it: RFC 9110, section 14."""

from __future__ import annotations

import asyncio
import re
import threading
from collections.abc import Iterator, Sequence
from itertools import groupby
from typing import Any, Final
from urllib.parse import urlsplit

__all__ = ["Request", "read_jointly"]

#: Bytes of a file: its URL, the first, and the end, excluded.
Request = tuple[str, int, int]

#: Fewer ranges are requested one by one; some servers refuse requests for more than 100.
_LEAST_RANGES: Final = 4
_MOST_RANGES: Final = 100
#: Larger requests are split over several connections.
_MOST_BYTES: Final = 8_000_000
_CONTENT_RANGE: Final = re.compile(rb"content-range:\s*bytes\s+(\d+)-(\d+)/", re.IGNORECASE)

#: Whether a server, by protocol and name, answers a request for several ranges; the lock below is
#: held while a server is probed.
_several_at_once: Final[dict[tuple[str, str], bool]] = {}
_probing: Final = threading.Lock()


def read_jointly(fs: Any, requests: Sequence[Request]) -> dict[Request, bytes]:
    """Read many ranges in few requests.

    Parameters
    ----------
    fs : fsspec.implementations.http.HTTPFileSystem
        The file system of the URLs.
    requests : sequence of (str, int, int)
        URL, first byte and end of each range.

    Returns
    -------
    dict of (str, int, int) to bytes
        The ranges that were read; the others have to be requested one by one.
    """
    batches = list(_batches(requests))
    if not batches:
        return {}
    url, server = requests[0][0], urlsplit(requests[0][0])[:2]
    with _probing:
        if server not in _several_at_once:
            _run(fs, [[(url, 0, 1), (url, 2, 3)]])
    answers = _run(fs, batches) if _several_at_once.get(server) else []
    return {request: data for answer in answers for request, data in answer.items()}


def _run(fs: Any, batches: Sequence[list[Request]]) -> list[dict[Request, bytes]]:
    return asyncio.run_coroutine_threadsafe(_fetch_all(fs, batches), fs.loop).result()


def _batches(requests: Sequence[Request]) -> Iterator[list[Request]]:
    """Divide the ranges of each file among requests."""
    for _, of_file in groupby(requests, lambda request: request[0]):
        batch: list[Request] = []
        num_bytes = 0
        for request in of_file:
            size = request[2] - request[1]
            if len(batch) == _MOST_RANGES or num_bytes + size > _MOST_BYTES:
                yield from [batch] if len(batch) >= _LEAST_RANGES else []
                batch, num_bytes = [], 0
            batch.append(request)
            num_bytes += size
        yield from [batch] if len(batch) >= _LEAST_RANGES else []


async def _fetch_all(fs: Any, batches: Sequence[list[Request]]) -> list[dict[Request, bytes]]:
    return await asyncio.gather(*(_fetch(fs, batch) for batch in batches))


async def _fetch(fs: Any, batch: Sequence[Request]) -> dict[Request, bytes]:
    """Request ranges of one file; return nothing if that fails for any reason."""
    url = batch[0][0]
    options = dict(fs.kwargs)
    ranges = ", ".join(f"{start}-{stop - 1}" for _, start, stop in batch)
    headers = {**options.pop("headers", {}), "Range": f"bytes={ranges}"}
    try:
        session = await fs.set_session()
        async with session.get(fs.encode_url(url), headers=headers, **options) as response:
            several = response.content_type == "multipart/byteranges"
            if response.ok:
                _several_at_once[urlsplit(url)[:2]] = several
            if not several:
                response.close()  # the whole file may be on its way
                return {}
            parts = _parts(await response.read())
    except Exception:  # the ranges are then requested one by one, which reports a lasting error
        return {}
    return {
        (url, start, stop): parts[start]
        for _, start, stop in batch
        if len(parts.get(start, b"")) == stop - start
    }


def _parts(body: bytes) -> dict[int, bytes]:
    """Return the parts of an answer by their first byte in the file; the last may be incomplete."""
    found = {}
    end = 0
    while match := _CONTENT_RANGE.search(body, end):
        begin = body.find(b"\r\n\r\n", match.end()) + 4
        start, last = (int(number) for number in match.groups())
        end = begin + last - start + 1
        found[start] = body[begin:end]
    return found
