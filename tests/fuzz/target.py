"""Inputs to mutate, how they are read, and which results are allowed."""

from __future__ import annotations

import resource
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np

from pilarnet_convert.errors import PilarnetError

__all__ = ["FAULTS", "OUTCOMES", "Mutation", "Target", "try_input"]

#: What may come of reading a mutated input. The last five are faults of the program.
OUTCOMES = (
    "refused",
    "same data",
    "other data",
    "silent",
    "traceback",
    "hang",
    "memory",
    "crash",
)
FAULTS = OUTCOMES[3:]
#: Seconds of computing, and of waiting, after which a read counts as hanging: whoever stops the
#: process for a while changes nothing. Bytes that it may take.
_COMPUTING, _WAITING = 30, 900
_MEMORY = 2 << 30


class Mutation(NamedTuple):
    """A mutated input: its kind, and whether a checksum covers all that was changed."""

    kind: str
    is_covered: bool


class Target(Protocol):
    """Inputs of one kind."""

    def mutate(self, rng: np.random.Generator, path: Path) -> Mutation:
        """Write a mutated input."""

    def read(self, path: Path) -> bytes:
        """Read an input, and give all that was read of it."""


class _Hang(BaseException):
    pass


@contextmanager
def _limited() -> Iterator[None]:
    """Limit memory and time of this process inside the context."""

    def ring(*_: object) -> None:
        raise _Hang

    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    clocks = {
        signal.ITIMER_PROF: (signal.SIGPROF, _COMPUTING),
        signal.ITIMER_REAL: (signal.SIGALRM, _WAITING),
    }
    before = {number: signal.signal(number, ring) for number, _ in clocks.values()}
    resource.setrlimit(resource.RLIMIT_AS, (size + _MEMORY, limits[1]))
    for clock, (_, seconds) in clocks.items():
        signal.setitimer(clock, seconds)
    try:
        yield
    finally:
        for clock in clocks:
            signal.setitimer(clock, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
        resource.setrlimit(resource.RLIMIT_AS, limits)


def try_input(
    read: Callable[[Path], bytes], path: Path, *, expected: bytes, mutation: Mutation
) -> tuple[str, str]:
    """Read a mutated input; give one of `OUTCOMES` and the message of an error."""
    try:
        with _limited():
            found = read(path)
    except PilarnetError as error:
        line = str(error)
        return ("refused" if "\n" not in line else "traceback"), line
    except _Hang:
        return "hang", ""
    except MemoryError as error:
        return "memory", repr(error)
    except OSError as error:  # the commands print it as one line
        return "refused", repr(error)
    except Exception as error:
        return "traceback", repr(error)
    if found == expected:
        return "same data", ""
    return ("silent" if mutation.is_covered else "other data"), ""
