"""What a conversion records of itself: the inputs and options that decide on the shards.

It is written before the first event is read, compared when a conversion goes on, and becomes part
of the attributes of the finished shards.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pilarnet_convert import __version__
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.particles import Selection
from pilarnet_convert.readers.events import Source, UnknownPdg
from pilarnet_convert.schedule import Schedule

__all__ = ["ConversionOptions", "attributes", "describe", "require_same"]


@dataclass(frozen=True, kw_only=True)
class ConversionOptions:
    """What decides on the contents of the shards; recorded with them.

    Attributes
    ----------
    selection : Selection
        Which clusters become particles, and the fractions of the splits.
    particles_per_shard : int
        Every shard of a split has this many particles, but for the last.
    max_events : int or None
        Take only the first of all events.
    skip_bad_files : bool
        Leave out sources that cannot be read, instead of stopping.
    unknown_pdg : {"error", "other"}
        Whether a PDG code that names no particle is an error or another species.
    """

    selection: Selection
    particles_per_shard: int
    max_events: int | None
    skip_bad_files: bool
    unknown_pdg: UnknownPdg


def describe(sources: Mapping[int, Source], options: ConversionOptions) -> dict[str, Any]:
    """Record what decides on the bytes of the shards, as a document."""
    return {
        "created_by": f"pilarnet-clr {__version__}",
        "options": asdict(options),
        "sources": [
            {
                "name": source.name,
                "size": sum(size for _, size, _ in source.files),
                "entries": source.num_entries,
                "uuid": source.files[0][2],
                "files": [
                    {"name": name, "size": size, "uuid": uuid} for name, size, uuid in source.files
                ],
            }
            for source in sources.values()
        ],
    }


def require_same(path: Path, before: Mapping[str, Any], plan: Mapping[str, Any]) -> None:
    """Refuse to go on with a conversion of other inputs or options."""
    for part in plan:
        if before.get(part) == plan[part]:
            continue
        was, now = before.get(part), plan[part]
        if part == "options" and isinstance(was, dict):
            was = {name: value for name, value in was.items() if value != now.get(name)}
            now = {name: now.get(name) for name in was}
        elif part == "sources":
            was, now = (f"{len(sources or [])} with other contents" for sources in (was, now))
        raise PilarnetError(
            f"the conversion to go on with had other {part}",
            file=path,
            expected=was,
            found=now,
            advice="name the same inputs and options, or begin anew with --overwrite",
        )


def attributes(
    plan: Mapping[str, Any], schedule: Schedule, bad_files: Sequence[Mapping[str, str]]
) -> dict[str, Any]:
    """Give the attributes of the finished set of shards: the record, and what came of it."""
    statistics = schedule.tally().to_json()
    cubes = statistics.pop("cubes")
    return {
        **plan,
        "geometry": [
            {"voxels": [int(n) for n in cube[:3]], "voxel_size_cm": cube[3:]} for cube in cubes
        ],
        "statistics": statistics,
        "bad_files": list(bad_files),
        "shards": schedule.shard_names,
    }
