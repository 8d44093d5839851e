"""Requests to archives; temporary failures are distinguished from permanent ones."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final

from pilarnet_convert import __version__
from pilarnet_convert.errors import MissingDependencyError, PilarnetError, how_to_install
from pilarnet_convert.storage.retries import TRIES, pause

try:
    import requests
except ImportError as error:
    raise MissingDependencyError(
        "files are fetched by requests, which is not installed",
        advice=how_to_install("download"),
    ) from error

__all__ = ["FIRST_PAUSE_S", "ConnectionLost", "get_json", "read_from"]

#: Seconds before the second try, see `pause`.
FIRST_PAUSE_S = 1.0
_TIMEOUT_S: Final = (20, 60)  # to connect, and between two pieces
#: The number of bytes read at once, of which no more are lost with a connection.
_PIECE: Final = 1 << 16
_LATER: Final = (408, 425, 429, 500, 502, 503, 504)
_HEADERS: Final = {
    "User-Agent": f"pilarnet-clr/{__version__}",
    "Accept-Encoding": "identity",  # positions in a file are those of its bytes
}


class ConnectionLost(Exception):
    """A request failed for a reason that may be temporary: it is worth another try."""


def _innermost(error: BaseException) -> str:
    """Return the message of the first error of a chain, which the later ones only wrap."""
    while isinstance(error.__context__, Exception):
        error = error.__context__
    return str(error)


def get_json(url: str) -> tuple[Any, str | None]:
    """Get a JSON document, and the address of the next page if the server names one.

    Raises
    ------
    PilarnetError
        If the server cannot be reached or refuses, or the answer is not JSON.
    """
    for attempt in range(TRIES):
        if attempt:
            pause(attempt, first_s=FIRST_PAUSE_S)
        try:
            with _get(url, {"Accept": "application/json"}) as response:
                return response.json(), response.links.get("next", {}).get("url")
        except requests.JSONDecodeError as error:
            raise PilarnetError("the answer is not JSON", file=url, found=str(error)) from error
        except (ConnectionLost, requests.RequestException) as error:
            failure = _innermost(error)
    raise PilarnetError("the server cannot be reached", file=url, found=failure)


@contextmanager
def read_from(url: str, *, start: int) -> Iterator[tuple[int, Iterator[bytes]]]:
    """Read a file from byte `start` on; from its beginning if the server does not serve ranges.

    Yields
    ------
    start : int
        Where the pieces begin.
    pieces : iterator of bytes
        The bytes from there on; `ConnectionLost` if they end early.

    Raises
    ------
    ConnectionLost
        If the server cannot be reached, or asks to try again later.
    PilarnetError
        If the server refuses.
    """
    with _get(url, {"Range": f"bytes={start}-"} if start else {}) as response:
        partial = response.headers.get("Content-Range", "").startswith(f"bytes {start}-")
        yield start if response.status_code == 206 and partial else 0, _pieces(response)


def _pieces(response: requests.Response) -> Iterator[bytes]:
    try:
        yield from response.iter_content(_PIECE)
    except requests.RequestException as error:
        raise ConnectionLost(_innermost(error)) from error


@contextmanager
def _get(url: str, headers: dict[str, str]) -> Iterator[requests.Response]:
    try:
        response = requests.get(url, headers=_HEADERS | headers, timeout=_TIMEOUT_S, stream=True)
    except requests.RequestException as error:
        raise ConnectionLost(_innermost(error)) from error
    with response:
        if response.status_code in _LATER:
            raise ConnectionLost(f"status {response.status_code}")
        if not response.ok:
            raise PilarnetError(
                "the server refuses",
                file=url,
                found=f"status {response.status_code} {response.reason}",
            )
        yield response
