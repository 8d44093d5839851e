"""Stopping a conversion at any of its writes to disk, without ending a process."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["Death", "Steps", "dying"]


class Death(BaseException):
    """Ends a conversion as SIGKILL does: nobody handles it."""


class Steps:
    """The steps on disk under a folder, counted as they are about to be done."""

    def __init__(self, folder: Path, last: int | None) -> None:
        self.folder, self.last, self.done = str(folder), last, 0

    def see(self, event: str, args: tuple[Any, ...]) -> None:
        if event not in ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir"):
            return
        if not str(args[0]).startswith(self.folder):
            return
        if event == "open" and not (isinstance(args[1], str) and set(args[1]) & set("wax+")):
            return
        if self.done == self.last:
            raise Death
        self.done += 1


_active: list[Steps] = []
_hooked = False


def _hook(event: str, args: tuple[Any, ...]) -> None:
    for steps in _active:
        steps.see(event, args)


@contextmanager
def dying(folder: Path, *, after: int | None = None) -> Iterator[Steps]:
    """Die before the step `after` on disk under `folder`, or only count the steps."""
    global _hooked
    if not _hooked:  # an audit hook stays for good
        sys.addaudithook(_hook)
        _hooked = True
    steps = Steps(folder, after)
    _active.append(steps)
    try:
        yield steps
    finally:
        _active.remove(steps)
