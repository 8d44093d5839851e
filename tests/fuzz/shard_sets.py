"""Mutated sets of shards."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from pilarnet_convert import convert
from pilarnet_convert.shards.format import SPLITS, attributes_checksum
from pilarnet_convert.shards.reader import open_shards
from pilarnet_convert.shards.statistics import statistics
from pilarnet_convert.shards.tables import render
from pilarnet_convert.shards.verify import verify
from tests.fuzz.target import Mutation
from tests.sample import SAMPLE

__all__ = ["ShardSets"]

#: Edits of the metadata that their checksum was made for.
_SEALED = "metadata edited, checksum right"


class ShardSets:
    """The bundled sample converted, mutated."""

    def __init__(self, folder: Path) -> None:
        self._good = folder / "good"
        convert(SAMPLE, self._good, workers=1, splits={"train": 0.6, "val": 0.4})
        self._files = sorted(map(Path, _files(self._good)))
        self._folders = sorted({parent for file in self._files for parent in file.parents})

    def mutate(self, rng: np.random.Generator, path: Path) -> Mutation:
        """Write a mutated set: links to the files that stay as they are."""
        shutil.rmtree(path, ignore_errors=True)
        for folder in self._folders:
            os.mkdir(path / folder)
        for file in self._files:
            os.link(self._good / file, path / file)
        mutations: list[Callable[[np.random.Generator, Path], str]] = [
            self._flip,
            self._cut,
            self._remove,
            self._exchange,
            self._add,
            self._edit,
            self._edit_sealed,
        ]
        kind = mutations[rng.integers(len(mutations))](rng, path)
        return Mutation(kind, kind != _SEALED)

    def _pick(self, rng: np.random.Generator) -> Path:
        # Half of all from metadata, which are few.
        metadata = [p for p in self._files if p.name == "zarr.json" and len(p.parts) < 4]
        files = metadata if rng.random() < 0.3 else self._files
        return files[rng.integers(len(files))]

    def _flip(self, rng: np.random.Generator, path: Path) -> str:
        file = path / self._pick(rng)
        data = np.frombuffer(file.read_bytes(), np.uint8).copy()
        at = rng.integers(0, len(data), rng.integers(1, 5))
        data[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
        _replace(file, data.tobytes())
        return "bits anywhere"

    def _cut(self, rng: np.random.Generator, path: Path) -> str:
        file = path / self._pick(rng)
        data = file.read_bytes()
        _replace(file, data[: rng.integers(len(data))] if rng.random() < 0.7 else b"")
        return "cut or emptied"

    def _remove(self, rng: np.random.Generator, path: Path) -> str:
        file = path / self._pick(rng)
        if rng.random() < 0.5 or file.parent == path:
            file.unlink()
        else:
            shutil.rmtree(file.parent)
        return "files removed"

    def _exchange(self, rng: np.random.Generator, path: Path) -> str:
        first = self._pick(rng)
        alike = [p for p in self._files if p.name == first.name and p != first]
        if rng.random() < 0.5:  # the same array of another shard
            alike = [p for p in alike if p.parts[2:] == first.parts[2:]] or alike
        second = alike[rng.integers(len(alike))] if alike else first
        data = [(path / name).read_bytes() for name in (second, first)]
        for name, content in zip((first, second), data, strict=True):
            _replace(path / name, content)
        return "files exchanged"

    def _add(self, rng: np.random.Generator, path: Path) -> str:
        file = path / self._pick(rng)
        name = f"{rng.choice(['c.0', 'c.1', 'c.0.0', 'zarr.json', 'note'])}{rng.choice(['', '~'])}"
        folder = file.parent / str(rng.choice([".", "c", "extra"]))
        folder.mkdir(exist_ok=True)
        _replace(folder / name, file.read_bytes())
        return "files added"

    def _edit(self, rng: np.random.Generator, path: Path) -> str:
        names = [p for p in self._files if p.name == "zarr.json"]
        roots = [p for p in names if len(p.parts) < 4]
        file = path / (roots if rng.random() < 0.8 else names)[rng.integers(len(roots))]
        document = json.loads(file.read_bytes())
        _edit_json(document, rng)
        _replace(file, json.dumps(document).encode())
        return "metadata edited"

    def _edit_sealed(self, rng: np.random.Generator, path: Path) -> str:
        document = json.loads((path / "zarr.json").read_bytes())
        attributes = document["attributes"]
        for _ in range(rng.integers(1, 3)):
            _edit_json(attributes, rng)
        attributes["checksum"] = attributes_checksum(attributes)
        _replace(path / "zarr.json", json.dumps(document).encode())
        return _SEALED

    def read(self, path: Path) -> bytes:
        """Read all particles; a change of the files that `verify` does not see is said."""
        faults = verify(path) if path.exists() else []
        shards = open_shards(path)
        parts = []
        for split, of_split in shards.splits.items():
            for shard in of_split:
                arrays = shard.read()
                parts += [f"{split} {shard.name} {shard.process_names}".encode()]
                parts += [arrays[name].tobytes() for name in sorted(arrays)]
        if shards.attributes != open_shards(self._good).attributes:
            parts.append(render(statistics(shards), style="json").encode())
        changed = not faults and not _equal(path, self._good)
        return b"".join(parts) + (b"changed without a fault" if changed else b"")


def _replace(file: Path, data: bytes) -> None:
    """Write a file anew: the one that is there is a link to the good one."""
    file.unlink(missing_ok=True)
    file.write_bytes(data)


def _files(folder: Path) -> set[str]:
    """List the files of a set by their paths in it; what lies beside them is not of it."""
    found = {"zarr.json"} if (folder / "zarr.json").is_file() else set()
    for split in SPLITS:
        for place, _, names in os.walk(folder / split):
            inside = os.path.relpath(place, folder)
            is_shard = inside != split
            found |= {os.path.join(inside, n) for n in names if is_shard or n == "zarr.json"}
    return found


def _equal(path: Path, other: Path) -> bool:
    names = _files(path)
    return names == _files(other) and all(_same(path / n, other / n) for n in names)


def _same(file: Path, other: Path) -> bool:
    """Compare two files; of JSON what it says, for spaces between it are of no consequence."""
    if os.path.samefile(file, other):
        return True
    data, expected = file.read_bytes(), other.read_bytes()
    if file.suffix != ".json" or data == expected:
        return data == expected
    try:
        return bool(json.loads(data) == json.loads(expected))
    except ValueError:
        return False


def _edit_json(document: Any, rng: np.random.Generator) -> None:
    """Change, remove or add a value somewhere in a document."""
    inside: list[Any] = [document]
    for value in inside:  # grows while it is walked
        children = value.values() if isinstance(value, dict) else value
        inside += [c for c in children if isinstance(c, dict | list) and len(c)]
    chosen = inside[rng.integers(len(inside))]
    keys = list(chosen) if isinstance(chosen, dict) else range(len(chosen))
    key = keys[rng.integers(len(keys))]
    new = [None, 0, -1, 10**30, 1.5, "", "../..", [], {}, True, "NaN"]
    if rng.random() < 0.2:
        del chosen[key]
    elif isinstance(chosen[key], int) and rng.random() < 0.5:
        chosen[key] += int(rng.integers(-2, 3))
    else:
        chosen[key] = new[rng.integers(len(new))]
