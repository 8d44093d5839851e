"""The attributes of several sets of shards, joined as if the sets were one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

__all__ = ["join_attributes"]


def join_attributes(sets: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Join the attributes of the roots of some sets.

    Lists of sources, shards and bad files are concatenated, statistics are added up, each geometry
    is kept once, and the checksums are joined by ``+``. Everything else is that of the first set.
    """
    first, *others = sets
    if not others:
        return dict(first)
    geometry: list[Any] = []
    below_mass: list[Any] = []
    first_source = 0
    for attributes in sets:
        geometry += [cube for cube in attributes["geometry"] if cube not in geometry]
        if (found := attributes["statistics"].get("first_below_mass")) is not None:
            below_mass.append([first_source + found[0], found[1]])
        first_source += len(attributes["sources"])
    return {
        **first,
        **{
            name: [row for attributes in sets for row in attributes[name]]
            for name in ("sources", "shards", "bad_files")
        },
        "geometry": geometry,
        "statistics": _added([attributes["statistics"] for attributes in sets])
        | {"first_below_mass": next(iter(below_mass), None)},
        "checksum": "+".join(attributes["checksum"] for attributes in sets),
    }


def _added(values: Sequence[Any]) -> Any:
    """Add up numbers, or dictionaries of them by their keys."""
    if not isinstance(values[0], Mapping):
        return sum(value for value in values if isinstance(value, int))
    keys = dict.fromkeys(key for value in values for key in value)
    return {key: _added([value[key] for value in values if key in value]) for key in keys}
