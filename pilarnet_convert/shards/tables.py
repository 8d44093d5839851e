"""How the statistics of a set of shards are shown: as a table or as Markdown."""

from __future__ import annotations

from typing import Any, Literal

import pandas as pd

from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.statistics import PERCENTILES, Statistics
from pilarnet_convert.species import CLASSES

__all__ = ["Format", "render"]

Format = Literal["table", "json", "csv", "markdown"]


def render(statistics: Statistics, *, style: Format = "table", brief: bool = False) -> str:
    """Write statistics as text.

    Parameters
    ----------
    statistics : Statistics
        From `pilarnet_convert.shards.statistics.statistics`.
    style : {"table", "json", "csv", "markdown"}
        ``csv`` holds the distribution of classes alone.
    brief : bool
        Leave out the splits and the voxels and energies.
    """
    if style == "json":
        return statistics.to_json()
    if style == "csv":
        return str(statistics.classes.to_csv(index=False)).rstrip()
    tables = [_class_table(statistics)]
    if not brief:
        tables += [_size_table(statistics)]
    tables += [_cluster_table(statistics)]
    lay_out = _markdown if style == "markdown" else _plain
    head = (
        f"{_count(statistics.num_events)} events of {_sources(statistics.num_sources)}, "
        f"{statistics.num_shards} shards"
    )
    parts = [head, *(lay_out(table) for table in tables)]
    parts += [f"left out: {bad['error']}" for bad in statistics.bad_files]
    return "\n\n".join(parts)


def _class_table(statistics: Statistics) -> pd.DataFrame:
    """Make a row a class: the count of each split and of all, the fractions, ours and theirs."""
    pivot = statistics.classes.pivot(index="class", columns="split", values="count")
    every = statistics.classes[statistics.classes["split"] == "all"].set_index("class")
    names = [*(c.name for c in CLASSES), "all"]
    return pd.DataFrame(
        {
            "class": names,
            **{split: [_count(pivot.loc[n, split]) for n in names] for split in (*SPLITS, "all")},
            "fraction": [_percent(every.loc[n, "fraction"]) for n in names],
            "published": [_percent(every.loc[n, "published_fraction"]) for n in names],
        }
    )


def _size_table(statistics: Statistics) -> pd.DataFrame:
    """Make a row a split and class: count, fraction, percentiles of voxels and of energy."""
    table = statistics.classes
    columns = {
        f"{unit} {percentile} %": [_number(v, digits) for v in table[f"{name}_p{percentile:02d}"]]
        for unit, name, digits in (("voxels", "voxels", 0), ("MeV", "energy_mev", 1))
        for percentile in PERCENTILES
    }
    return pd.DataFrame(
        {
            "split": table["split"],
            "class": table["class"],
            "count": [_count(n) for n in table["count"]],
            "fraction": [_percent(f) for f in table["fraction"]],
            **columns,
        }
    )


def _cluster_table(statistics: Statistics) -> pd.DataFrame:
    """Make a row an outcome, which add up to the clusters that were seen."""
    table = statistics.clusters
    total = int(table["clusters"].sum())
    return pd.DataFrame(
        {
            "clusters": [*table["outcome"], "seen"],
            "count": [_count(n) for n in [*table["clusters"], total]],
            "fraction": [_percent(f) for f in [*table["fraction"], 1.0 if total else 0.0]],
            "meaning": [*table["meaning"], "the sum of these"],
        }
    )


def _plain(table: pd.DataFrame) -> str:
    rows = [list(table.columns), *table.to_numpy().tolist()]
    return "\n".join(_row(row, _widths(rows), table) for row in rows)


def _markdown(table: pd.DataFrame) -> str:
    rows = [list(table.columns), *table.to_numpy().tolist()]
    widths = _widths(rows)
    ruler = [
        "-" * width if _is_text(name) else "-" * (width - 1) + ":"
        for name, width in zip(table.columns, widths, strict=True)
    ]
    head, *body = (f"| {_row(row, widths, table, ' | ')} |" for row in rows)
    return "\n".join([head, f"| {' | '.join(ruler)} |", *body])


def _row(row: list[str], widths: list[int], table: pd.DataFrame, gap: str = "  ") -> str:
    cells = [
        cell.ljust(width) if _is_text(name) else cell.rjust(width)
        for cell, width, name in zip(row, widths, table.columns, strict=True)
    ]
    return gap.join(cells).rstrip() if gap == "  " else gap.join(cells)


def _widths(rows: list[list[str]]) -> list[int]:
    return [max(max(len(cell) for cell in column), 3) for column in zip(*rows, strict=True)]


def _is_text(name: str) -> bool:
    return name in ("split", "class", "clusters", "meaning")


def _sources(number: int) -> str:
    return "1 source" if number == 1 else f"{_count(number)} sources"


def _count(value: Any) -> str:
    return f"{int(value):,}"


def _percent(value: Any) -> str:
    return f"{100 * float(value):.1f} %"


def _number(value: Any, digits: int) -> str:
    return "-" if pd.isna(value) else f"{float(value):,.{digits}f}"
