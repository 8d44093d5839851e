"""Running tasks on the workers of a Dask cluster."""

from __future__ import annotations

import json
import logging
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future
from contextlib import contextmanager
from typing import Any, Final, TypeVar

from pilarnet_convert import __version__
from pilarnet_convert.errors import MissingDependencyError, PilarnetError, how_to_install
from pilarnet_convert.storage.remote import as_path

__all__ = ["connected", "executor_of"]

_T = TypeVar("_T")

_SECONDS_TO_CONNECT: Final = 10
_CONTINUE: Final = "continue with --resume"


@contextmanager
def connected(scheduler: str) -> Iterator[Any]:
    """Yield a client of a Dask scheduler, which is closed at the end.

    Parameters
    ----------
    scheduler : str
        The address of the scheduler, such as ``tcp://10.0.0.1:8786``, or a scheduler file.

    Raises
    ------
    MissingDependencyError
        If the package ``distributed`` is missing.
    PilarnetError
        If no scheduler answers there.
    """
    distributed = _distributed()
    # The error below tells of a lost connection, so that its log need not.
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        address = _address(scheduler)
        distributed.comm.registry.get_backend(distributed.comm.parse_address(address)[0])
        client = distributed.Client(address, timeout=_SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise PilarnetError(
            "no Dask scheduler answers",
            field=f"--dask {scheduler}",
            expected="an address such as tcp://10.0.0.1:8786, or a scheduler file",
            found=error,
            advice="start one with: dask scheduler",
        ) from error
    with client:
        yield client


def _address(scheduler: str) -> str:
    """Return the address, read from the file where it is one."""
    file = as_path(scheduler)
    if file.is_file():
        try:
            return str(json.loads(file.read_bytes())["address"])
        except (ValueError, KeyError, TypeError, RecursionError):
            raise ValueError("not a scheduler file") from None
    if ":" not in scheduler:
        raise FileNotFoundError("a folder" if file.is_dir() else "no such file")
    return scheduler


@contextmanager
def executor_of(client: Any) -> Iterator[Executor]:
    """Yield an executor that runs its calls on the workers of the cluster of a client.

    A call whose worker dies is made again on others, as often as the scheduler's setting
    ``allowed-failures`` says: three times unless set.

    Parameters
    ----------
    client : distributed.Client
        Stays open.

    Raises
    ------
    PilarnetError
        If a worker has another version of this package, if the workers die that run a call, or
        if the connection to the scheduler is lost.
    """
    distributed = _distributed()
    if not isinstance(client, distributed.Client):
        raise TypeError(f"an Executor or a distributed.Client is needed, not {type(client)}")
    try:
        yield _DaskExecutor(client.get_executor(pure=False))
    except distributed.KilledWorker as error:
        raise PilarnetError(
            "a task was given up, for the workers that ran it died",
            found=f"{error.allowed_failures + 1} dead, the last {error.last_worker.address}",
            advice=f"look into its log, give workers more memory, and {_CONTINUE}",
        ) from error
    except CancelledError as error:
        raise PilarnetError(
            "the connection to the Dask scheduler is lost",
            found=client.scheduler.address if client.scheduler else None,
            advice=f"start it again, and {_CONTINUE}",
        ) from error
    except ImportError as error:
        if error.name != "pilarnet-clr":
            raise
        raise PilarnetError(
            "a worker has another version of pilarnet-clr",
            expected=__version__,
            found=error,
            advice="install the same on all machines",
        ) from error


class _DaskExecutor(Executor):
    """An executor of Dask that compares versions before anything of a call is unpickled."""

    def __init__(self, inner: Executor) -> None:
        self._inner = inner

    def submit(self, fn: Callable[..., _T], /, *args: Any, **kwargs: Any) -> Future[_T]:
        call: Callable[..., _T] = _call_if_same_version()
        return self._inner.submit(call, __version__, pickle.dumps((fn, args, kwargs)))


def _call_if_same_version() -> Callable[..., Any]:
    """Return the function that a worker runs: a nested one is pickled by value."""

    def call(version: str, pickled: bytes) -> Any:
        import pickle
        import socket

        try:
            from pilarnet_convert import __version__ as found
        except ImportError:
            found = "none"
        if found != version:
            raise ImportError(f"{found} on {socket.gethostname()}", name="pilarnet-clr")
        function, args, kwargs = pickle.loads(pickled)
        return function(*args, **kwargs)

    return call


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        raise MissingDependencyError(
            "Dask is not installed",
            field="--dask",
            advice=how_to_install("cluster"),
        ) from None
    return distributed
