"""``log.txt`` in the folder of a run, and the versions of the packages that matter."""

from __future__ import annotations

import os
import platform
import shlex
import subprocess
import sys
from collections.abc import Mapping
from datetime import datetime
from importlib import metadata
from pathlib import Path
from typing import Final

from pilarnet_convert import __version__

__all__ = ["RunLog", "versions"]

#: The packages whose versions determine results and speed.
_PACKAGES: Final = (
    *("numpy", "uproot", "awkward", "zarr", "numcodecs", "torch", "triton", "scikit-learn"),
    *("tensorboard", "matplotlib", "plotly", "h5py", "pyarrow", "MinkowskiEngine"),
)
_PACKAGE: Final = Path(__file__).parents[1]


def versions() -> dict[str, str]:
    """Return the versions of Python and of those packages that are installed."""
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


class RunLog:
    """A file of lines, each with the time, to which every run first adds a description of itself.

    If a run ends with an error, the error is its last line.

    Parameters
    ----------
    path : Path
        The file; lines are appended to an existing one.
    facts : mapping of str to str
        What else to write at the beginning, such as the device.
    """

    def __init__(self, path: Path, *, facts: Mapping[str, str]) -> None:
        self._path = path
        revision = _revision()
        known = {
            "command": shlex.join([_program(), *sys.argv[1:]]),
            "folder": os.getcwd(),
            "host": f"{platform.node()}, {platform.platform()}, {os.cpu_count()} cores",
            "pilarnet-clr": __version__ + (f", revision {revision}" if revision else ""),
            "versions": ", ".join(f"{name} {version}" for name, version in versions().items()),
            **facts,
        }
        for name, value in known.items():
            self.write(f"{name}: {value}")

    def __enter__(self) -> RunLog:
        return self

    def __exit__(self, kind: type | None, error: BaseException | None, _trace: object) -> None:
        if kind is KeyboardInterrupt:
            self.write("interrupted")
        elif kind is not None:
            self.write(f"error: {error if str(error) else kind.__name__}")

    def write(self, text: str) -> None:
        """Add lines."""
        now = datetime.now().astimezone().isoformat(sep=" ", timespec="seconds")
        with self._path.open("a", encoding="utf-8") as file:
            file.writelines(f"{now}  {line}\n" for line in text.splitlines())


def _program() -> str:
    """Return the name of the command that runs, also if it was started by ``python -m``."""
    path = Path(sys.argv[0])
    return path.parent.name if path.name == "__main__.py" else path.name


def _revision() -> str | None:
    """Return the git revision of the package, None if it is not in a checkout."""
    git = ["git", "-C", str(_PACKAGE)]
    try:
        # The package may lie in the checkout of something else, which does not track it.
        for command in ("ls-files --error-unmatch __init__.py", "describe --always --dirty"):
            done = subprocess.run(
                [*git, *command.split()], capture_output=True, text=True, timeout=10, check=True
            )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip()
