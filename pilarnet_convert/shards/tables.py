"""Tables as text: the statistics of a set of shards, and other tables of words and numbers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from tabulate import tabulate

from pilarnet_convert.errors import counted
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.statistics import PERCENTILES, Statistics
from pilarnet_convert.species import CLASS_NAMES

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Columns", "Format", "format_table", "render"]

#: A table as its columns, by their names.
Columns = Mapping[str, Sequence[str]]
Format = Literal["table", "json", "csv", "markdown"]
#: Columns of words; all others hold numbers.
_WORDS: Final = (
    "split",
    "class",
    "clusters",
    "meaning",
    "name",
    "file",
    "schema",
    "unit",
    "verdict",
)


def render(statistics: Statistics, *, style: Format = "table", brief: bool = False) -> str:
    """Write statistics as text; ``csv`` has the distribution of classes only.

    With `brief`, the tables of voxels, of energies and of other species are left out.
    """
    if style == "json":
        return statistics.to_json()
    if style == "csv":
        return str(statistics.classes.to_csv(index=False)).rstrip()
    tables = [_class_table(statistics)]
    if not brief:
        tables += [_voxel_table(statistics), _energy_table(statistics)]
    tables += [_cluster_table(statistics)]
    if not brief and len(statistics.other_species):
        tables += [_species_table(statistics)]
    events = counted(statistics.num_events, "event")
    sources = counted(statistics.num_sources, "source")
    head = f"{events} of {sources}, {counted(statistics.num_shards, 'shard')}"
    parts = [head, *(format_table(table, markdown=style == "markdown") for table in tables)]
    parts += statistics.notes
    parts += [f"left out: {bad['error']}" for bad in statistics.bad_files]
    return "\n\n".join(parts)


def _class_table(statistics: Statistics) -> Columns:
    """Return a row for each class: counts by split, fraction here and in the original study."""
    names = [*CLASS_NAMES, "all"]
    table = statistics.classes.set_index(["split", "class"])
    every = table.loc["all"].loc[names]
    return {
        "class": names,
        **{s: _counts(table.loc[s].loc[names, "count"]) for s in (*SPLITS, "all")},
        "fraction": _percents(every["fraction"]),
        "published": _percents(every["published_fraction"]),
    }


def _voxel_table(statistics: Statistics) -> Columns:
    """Return a row for each split and class: count, fraction, percentiles of voxels."""
    table = statistics.classes
    return {
        "split": list(table["split"]),
        "class": list(table["class"]),
        "count": _counts(table["count"]),
        "fraction": _percents(table["fraction"]),
        **_percentiles(table, "voxels", unit="voxels", digits=0),
    }


def _energy_table(statistics: Statistics) -> Columns:
    """Return a row for each split and class: percentiles of energy."""
    table = statistics.classes
    return {
        "split": list(table["split"]),
        "class": list(table["class"]),
        **_percentiles(table, "energy_mev", unit="MeV", digits=1),
    }


def _percentiles(table: pd.DataFrame, quantity: str, *, unit: str, digits: int) -> Columns:
    """Return a column for each percentile of a quantity; the name of the first has the unit."""
    return {
        f"{unit if percentile == PERCENTILES[0] else ''} {percentile} %".strip(): [
            "-" if math.isnan(value) else f"{value:,.{digits}f}"
            for value in table[f"{quantity}_p{percentile:02d}"]
        ]
        for percentile in PERCENTILES
    }


def _cluster_table(statistics: Statistics) -> Columns:
    """Return a row for each outcome, and one for their sum, the clusters that were seen."""
    table = statistics.clusters
    total = int(table["clusters"].sum())
    return {
        "clusters": [*table["outcome"], "seen"],
        "count": _counts([*table["clusters"], total]),
        "fraction": _percents([*table["fraction"], 1.0 if total else 0.0]),
        "meaning": [*table["meaning"], "the sum of these"],
    }


def _species_table(statistics: Statistics) -> Columns:
    """Return a row for each PDG code outside the five classes."""
    table = statistics.other_species
    return {
        "other species": list(map(str, table["pdg"])),
        "name": [name or "(no known particle)" for name in table["name"]],
        "count": _counts(table["clusters"]),
        "fraction": _percents(table["fraction"]),
    }


def _counts(values: Iterable[int]) -> list[str]:
    return [f"{value:,}" for value in values]


def _percents(fractions: Iterable[float]) -> list[str]:
    return [f"{100 * fraction:.1f} %" for fraction in fractions]


def format_table(table: Columns, *, markdown: bool = False) -> str:
    """Write a table as text, with words aligned to the left and numbers to the right."""
    return tabulate(
        table,
        headers="keys",
        tablefmt="pipe" if markdown else "plain",
        colalign=["left" if name in _WORDS else "right" for name in table],
        disable_numparse=True,
    )
