"""Requests to remote stores: connecting, repeating, and what a failure means.

Every request has a time-out, and is repeated after a failure that may be temporary. If all tries
fail, the error is one line with the URL. This is the only module that knows fsspec. Credentials,
endpoints and other settings of a protocol are those of fsspec and of the package behind it, taken
from the environment and from fsspec's configuration.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

from pilarnet_convert.errors import (
    ConnectionFault,
    MissingDependencyError,
    MissingError,
    PilarnetError,
    RemoteError,
    brief,
    how_to_install,
)
from pilarnet_convert.storage.retries import TRIES, pause
from pilarnet_convert.storage.web_ranges import Request, read_jointly

__all__ = ["connect", "read_many", "size_of", "with_retries"]

_Result = TypeVar("_Result")

#: Seconds without a byte after which a request has failed.
TIMEOUT_S = 60
#: Seconds before the second try, see `pause`.
FIRST_PAUSE_S = 0.2
#: Protocols without folders.
_WEB: Final = ("http", "https")
#: Errors that are permanent: those of botocore by name, others by type.
_LASTING: Final = ("NoCredentialsError", "PartialCredentialsError", "ParamValidationError")
_LASTING_TYPES: Final = (FileExistsError, IsADirectoryError, NotADirectoryError, TypeError)

# At exit, XRootD looks at every object for open files; some of torch's warn about that.
warnings.filterwarnings("ignore", category=FutureWarning, module="XRootD.client.finalize")


def connect(url: str) -> tuple[Any, str]:
    """Return the file system of fsspec for a URL, and the path in it."""
    import fsspec.config
    import fsspec.core

    protocol = urlsplit(url).scheme
    given = fsspec.config.conf.get(protocol, {})
    try:
        options = {k: v for k, v in _settings(protocol).items() if k not in given}
        fs, path = fsspec.core.url_to_fs(url, **options)
    except ImportError as error:
        raise MissingDependencyError(
            f"the package for {protocol}:// is not installed",
            file=url,
            advice=how_to_install("remote"),
        ) from error
    except ValueError as error:
        raise RemoteError(
            "no such protocol", file=url, found=protocol, advice="name a local path or a URL"
        ) from error
    return fs, path


def with_retries(url: str, request: Callable[[Any, str], _Result], *absent: _Result) -> _Result:
    """Make a request, and repeat it after failures that may be temporary.

    If there is no such file or folder, `absent` is returned if it is given.
    """
    for attempt in range(TRIES):
        if attempt:
            pause(attempt, first_s=FIRST_PAUSE_S)
        try:
            return request(*connect(url))
        except PilarnetError:
            raise
        except Exception as error:
            fault = _explained(url, error)
            if absent and isinstance(fault, MissingError):
                return absent[0]
            fault.__cause__ = error
        if not isinstance(fault, ConnectionFault):
            break
    raise fault


def read_many(requests: Sequence[Request]) -> list[bytes]:
    """Read ranges of files of one store, all at once; those that fail are read again.

    Raises
    ------
    RemoteError
        If a file is gone, access is refused, or it ends before a range does.
    ConnectionFault
        If the tries are used up.
    """
    found: dict[Request, bytes] = {}
    faults: dict[Request, RemoteError] = {}
    for attempt in range(TRIES):
        missing = [request for request in dict.fromkeys(requests) if request not in found]
        if not missing:
            break
        if attempt:
            pause(attempt, first_s=FIRST_PAUSE_S)
        faults = {}
        for request, data in _read_once(missing, again=attempt > 0).items():
            _, start, stop = request
            if isinstance(data, bytes) and len(data) == stop - start:
                found[request] = data
            else:
                faults[request] = _fault(request, data)
        for fault in faults.values():
            if not isinstance(fault, ConnectionFault):
                raise fault
    if faults:  # after all tries; the first one is reported
        request, fault = next(iter(faults.items()))
        raise _truncation(request) or fault
    return [found[request] for request in requests]


def _read_once(requests: Sequence[Request], *, again: bool) -> dict[Request, bytes | Exception]:
    """Try once to read ranges: over HTTP many in one request, and what is missing one by one."""
    found: dict[Request, bytes | Exception] = {}
    url = requests[0][0]
    try:
        fs, _ = connect(url)
        if urlsplit(url).scheme in _WEB and not again:
            found |= read_jointly(fs, requests)
        missing = [request for request in requests if request not in found]
        return found | _read_singly(fs, missing, again=again)
    except PilarnetError:
        raise
    except Exception as error:
        return dict.fromkeys(requests, error) | found


def _read_singly(
    fs: Any, requests: Sequence[Request], *, again: bool
) -> dict[Request, bytes | Exception]:
    """Read each range by a request of its own, several at the same time."""
    urls = [url for url, _, _ in requests]
    if again:  # also closes files that XRootD holds open
        for url in dict.fromkeys(urls):
            fs.invalidate_cache(url)
    paths = [fs._strip_protocol(url) for url in urls]
    starts, stops = ([request[i] for request in requests] for i in (1, 2))
    answers = fs.cat_ranges(paths, starts, stops, on_error="return") if requests else []
    return dict(zip(requests, answers, strict=True))


def _fault(request: Request, data: bytes | Exception) -> RemoteError:
    """Describe a range that came as an error, or with another length."""
    url, start, stop = request
    if isinstance(data, Exception):
        fault = _explained(url, data)
    elif len(data) > stop - start:
        fault = _ranges_ignored(url)
    else:
        text = f"{len(data)} bytes instead of {stop - start} from byte {start} on"
        fault = ConnectionFault("the connection failed", file=url, found=text)
    fault.position = start
    return fault


def _truncation(request: Request) -> RemoteError | None:
    """Describe a file that has become shorter; None if it has not, and the connection fails."""
    url, start, stop = request
    fs, path = connect(url)
    try:
        size = fs.info(path)["size"]
    except Exception:
        return None
    if size is None or size >= stop:
        return None
    fault = RemoteError(
        "truncated",
        file=url,
        expected=f"at least {stop} bytes",
        found=f"{size}",
        advice="wait until it is written, or copy it there again",
    )
    fault.position = start
    return fault


#: Protocols and names of web servers that have served a range to this process.
_serving_ranges: Final[set[tuple[str, str]]] = set()


def size_of(url: str) -> int:
    """Return the size of a file in bytes; `RemoteError` if its server does not serve ranges."""
    info = with_retries(url, lambda fs, path: fs.info(path))
    if info.get("size") is None or info.get("partial") is False:
        raise _ranges_ignored(url)
    server = urlsplit(url)[:2]
    if server[0] in _WEB and server not in _serving_ranges and info["size"] > 1:
        with_retries(url, _read_second_byte)
        _serving_ranges.add(server)
    return int(info["size"])


def _read_second_byte(fs: Any, path: str) -> None:
    """Fail if a web server sends the whole file instead of a range, without reading the file."""
    with fs.open(path, cache_type="none", block_size=1) as stream:
        stream.seek(1)
        stream.read(1)


def _explained(url: str, error: Exception) -> RemoteError:
    """Describe a failed request."""
    if urlsplit(url).scheme in _WEB and isinstance(error.__cause__, Exception):
        error = error.__cause__  # fsspec says that a file is missing, whatever the server says
    text = " ".join(str(error).split())[:160] or type(error).__name__
    status = getattr(error, "status", None)
    if isinstance(error, FileNotFoundError) or status in (404, 410) or "[3011]" in text:
        advice = "check the address"
        return MissingError("no such file or folder", file=url, found=text, advice=advice)
    if isinstance(error, PermissionError) or status in (401, 403) or "[3010]" in text:
        return RemoteError(
            "access is refused",
            file=url,
            found=text,
            advice="check the credentials and what they allow",
        )
    if "range requests" in text:  # said by fsspec's file over HTTP
        return _ranges_ignored(url)
    if type(error).__name__ in _LASTING or isinstance(error, _LASTING_TYPES):
        return RemoteError("the store refuses the request", file=url, found=brief(error))
    return ConnectionFault(
        "the connection failed",
        file=url,
        found=f"{brief(error)}, in {TRIES} tries",
        advice="check the network and the server, and continue with --resume",
    )


def _settings(protocol: str) -> dict[str, Any]:
    """Return time-outs, and switch off the caches of listings: what is there may change."""
    if protocol in _WEB:
        import aiohttp

        timeout = aiohttp.ClientTimeout(total=None, sock_connect=TIMEOUT_S, sock_read=TIMEOUT_S)
        return {"client_kwargs": {"timeout": timeout}}
    if protocol == "s3":
        seconds = {"connect_timeout": TIMEOUT_S, "read_timeout": TIMEOUT_S}
        return {
            "config_kwargs": {**seconds, "max_pool_connections": 32},
            "use_listings_cache": False,
        }
    if protocol == "root":
        return {"timeout": TIMEOUT_S, "use_listings_cache": False}
    return {}


def _ranges_ignored(url: str) -> RemoteError:
    """Describe a server that sends whole files only."""
    return RemoteError(
        "the server does not serve ranges of bytes",
        file=url,
        advice="download the file and convert the copy, or serve it by a server that does",
    )
