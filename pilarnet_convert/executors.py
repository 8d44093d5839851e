"""Starting processes from a script or a notebook of the user's."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType

__all__ = ["without_script"]


@contextmanager
def without_script() -> Iterator[None]:
    """Start processes that do not run the user's script.

    A process that is not forked from this one runs the main script first, in case its task names
    something of it; a script without ``if __name__ == "__main__"`` would then begin anew in each
    process, and one that was read from standard input could not. Our tasks name nothing of it, so
    while they start, the main module is an empty one.
    """
    script = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = script
