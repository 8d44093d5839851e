"""The manifest of a conversion: the inputs and options that determine the shards.

It is written before the first event is read, compared when the conversion is resumed, and becomes
part of the attributes of the finished set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from pilarnet_convert import __version__
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.readers.events import Source

if TYPE_CHECKING:
    from pilarnet_convert.config import ConvertConfig

__all__ = ["describe", "require_same"]


def describe(sources: Sequence[Source], config: ConvertConfig) -> dict[str, Any]:
    """Return the manifest as JSON values."""
    return {
        "created_by": f"pilarnet-clr {__version__}",
        "options": config.fixed(),
        "sources": [
            {
                "name": source.name,
                "reader": source.reader,
                "schema": source.schema,
                "units": asdict(source.units),
                "size": sum(size for _, size, _ in source.files),
                "entries": source.num_entries,
                "uuid": source.identity,
                "files": [
                    {"name": name, "size": size, "uuid": uuid} for name, size, uuid in source.files
                ],
            }
            for source in sources
        ],
    }


def require_same(path: object, before: Mapping[str, Any], manifest: Mapping[str, Any]) -> None:
    """Refuse, by a `PilarnetError`, to resume a conversion of other inputs or options."""
    for part, now in manifest.items():
        was = before.get(part)
        if was == now:
            continue
        problem, advice = f"has other {part}", "name the same inputs and options"
        if part == "created_by":
            problem, advice = "was begun by another version", "continue with that version"
        elif part == "options" and isinstance(was, dict):
            was = {name: value for name, value in was.items() if value != now.get(name)}
            now = {name: now.get(name) for name in was}
        elif part == "sources":
            was, now = (f"{len(sources or [])} with other contents" for sources in (was, now))
        raise PilarnetError(
            f"the conversion in the folder {problem}",
            file=path,
            expected=was,
            found=now,
            advice=f"{advice}, or begin anew with --overwrite",
        )
