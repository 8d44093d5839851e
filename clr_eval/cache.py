"""Results of a report, kept in files under a key of everything that they depend on.

An interrupted report continues from them. Other options, checkpoints or shards have other keys.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.progress import CostBar
from pilarnet_convert.files import replace_file

__all__ = ["Arrays", "ResultCache"]

#: Increase this when the code computes something else from the same options.
_GENERATION: Final = 3
_KEY_LENGTH: Final = 16
_CHECKSUM_BYTES: Final = hashlib.sha256().digest_size

Arrays = dict[str, NDArray[Any]]


class ResultCache:
    """A folder of results, one ``.npz`` file each, all of which depend on `identity`.

    `progress` is told of each result once, the first time it is asked for.
    """

    def __init__(
        self, folder: Path, *, identity: Mapping[str, Any], progress: CostBar | None = None
    ) -> None:
        self.folder = folder
        self._identity = dict(identity)
        self._progress = progress or CostBar()
        self._counted: set[Path] = set()

    def get(
        self,
        name: str,
        *,
        depends_on: Mapping[str, Any],
        make: Callable[[], Arrays],
        cost: float = 0.0,
    ) -> Arrays:
        """Read a result, or make and keep it where it is missing.

        `name` begins the name of its file. `depends_on` holds, as JSON values, what the result
        depends on besides `name` and `identity`. `cost` is the cost of making it; `make` may count
        a part of this itself.
        """
        path = self._path(name, depends_on)
        cost = 0.0 if path in self._counted else cost
        self._counted.add(path)
        if (kept := _read(path)) is not None:
            self._progress.skip(cost)
            return kept
        end = self._progress.done + cost
        result = make()
        self._progress.advance(end - self._progress.done)
        self.folder.mkdir(parents=True, exist_ok=True)
        _write(path, result)
        return result

    def has(self, name: str, *, depends_on: Mapping[str, Any]) -> bool:
        """Return whether a result has been kept."""
        return self._path(name, depends_on).exists()

    def _path(self, name: str, depends_on: Mapping[str, Any]) -> Path:
        return self.folder / f"{name}-{self._key(name, depends_on)}.npz"

    def _key(self, name: str, depends_on: Mapping[str, Any]) -> str:
        facts = {"generation": _GENERATION, "name": name, "identity": self._identity}
        text = json.dumps(facts | {"of": dict(depends_on)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_KEY_LENGTH]


def _write(path: Path, result: Arrays) -> None:
    """Write a result as ``.npz``, which other programs read too, with its checksum at the end."""
    file = io.BytesIO()
    np.savez(file, **result)  # type: ignore[arg-type]  # numpy: a name may not be a flag
    file.write(hashlib.sha256(file.getbuffer()).digest())
    replace_file(path, file.getvalue())


def _read(path: Path) -> Arrays | None:
    """Read a result; None if it is missing or damaged, and has to be made again."""
    try:
        data = memoryview(path.read_bytes())
    except FileNotFoundError:
        return None
    data, checksum = data[:-_CHECKSUM_BYTES], data[-_CHECKSUM_BYTES:]
    if hashlib.sha256(data).digest() != checksum:
        return None
    with np.load(io.BytesIO(data)) as arrays:
        return dict(arrays)
