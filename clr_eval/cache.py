"""Results of a report, kept in files under a key of everything that they depend on.

An interrupted report continues from them. Other options, checkpoints or shards have other keys.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.files import replace_file

__all__ = ["Arrays", "PartCache", "file_digest"]

#: To be increased when the code computes something else from the same options.
_GENERATION: Final = 3
_KEY_LENGTH: Final = 16

Arrays = dict[str, NDArray[Any]]


class PartCache:
    """A folder of results ("parts"), one ``.npz`` file each, all of which depend on `identity`."""

    def __init__(self, folder: Path, *, identity: Mapping[str, Any]) -> None:
        self.folder = folder
        self._identity = dict(identity)

    def get(
        self, name: str, *, depends_on: Mapping[str, Any], make: Callable[[], Arrays]
    ) -> Arrays:
        """Read a part, or make and keep it where it is missing.

        `name` begins the name of its file. `depends_on` holds, as JSON values, what the part
        depends on besides it and `identity`.
        """
        path = self.folder / f"{name}-{self._key(name, depends_on)}.npz"
        try:
            with np.load(path, allow_pickle=False) as arrays:
                return dict(arrays)
        except FileNotFoundError:
            pass
        except (zipfile.BadZipFile, ValueError, EOFError):
            path.unlink()  # damaged: it is made again
        part = make()
        self.folder.mkdir(parents=True, exist_ok=True)
        file = io.BytesIO()
        np.savez(file, **part)  # type: ignore[arg-type]  # numpy: a name may not be a flag
        replace_file(path, file.getvalue())
        return part

    def _key(self, name: str, depends_on: Mapping[str, Any]) -> str:
        facts = {"generation": _GENERATION, "name": name, "identity": self._identity}
        text = json.dumps(facts | {"of": dict(depends_on)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def file_digest(path: Path) -> str:
    """Give the SHA-256 of a file, in hexadecimal."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
