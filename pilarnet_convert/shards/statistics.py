"""What is in a set of shards: the distribution of classes, and what was rejected."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.shards.format import REJECTIONS, SPLITS
from pilarnet_convert.shards.reader import ShardPaths, Shards, open_shards
from pilarnet_convert.shards.shard import damage_reported
from pilarnet_convert.species import CLASSES, PUBLISHED_COUNTS, name_of_pdg

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["PERCENTILES", "Statistics", "particle_table", "statistics"]

PERCENTILES = (5, 50, 95)


@dataclass(frozen=True, kw_only=True)
class Statistics:
    """The distribution of a set of shards.

    Attributes
    ----------
    classes : DataFrame
        A row for each split (and ``all``) and each class (and ``all``): count, fraction of the
        split, fraction in the original study, and the 5th, 50th and 95th percentiles of the voxels
        of a particle and of its deposited energy (MeV).
    clusters : DataFrame
        A row for ``written`` and for each reason of rejection: clusters, and their fraction of
        all that were seen.
    other_species : DataFrame
        A row for each PDG code outside the five classes: its name, clusters, and their fraction of
        all that were seen.
    notes : tuple of str
        What is unusual: repeated voxels, other units, energies below the mass.
    num_events, num_shards, num_sources : int
        How many there are.
    bad_files : tuple of mappings
        ``name`` and ``error`` of every source that was left out.
    """

    classes: pd.DataFrame
    clusters: pd.DataFrame
    other_species: pd.DataFrame
    notes: tuple[str, ...]
    num_events: int
    num_shards: int
    num_sources: int
    bad_files: tuple[Mapping[str, str], ...]

    def to_json(self) -> str:
        """Return everything as one JSON document."""
        document = {
            "events": self.num_events,
            "shards": self.num_shards,
            "sources": self.num_sources,
            "classes": json.loads(self.classes.to_json(orient="records")),
            "clusters": json.loads(self.clusters.to_json(orient="records")),
            "other_species": json.loads(self.other_species.to_json(orient="records")),
            "notes": list(self.notes),
            "bad_files": [dict(bad) for bad in self.bad_files],
        }
        return json.dumps(document, indent=1)


def statistics(shards: Shards | ShardPaths, *, show_progress: bool = False) -> Statistics:
    """Count classes, voxels and energies of sets of shards.

    Parameters
    ----------
    shards : Shards, path or URL, or a list of paths and URLs
        The sets, counted as one.
    show_progress : bool
        Draw a bar on standard error.

    Raises
    ------
    ShardError
        If a set is damaged.
    """
    if not isinstance(shards, Shards):
        shards = open_shards(shards)
    particles = particle_table(shards, show_progress=show_progress)
    with damage_reported(shards, field="statistics"):
        return _summary(particles, shards.attributes)


def _summary(particles: pd.DataFrame, attributes: Mapping[str, Any]) -> Statistics:
    import pandas as pd

    tally = attributes["statistics"]
    counts = {"written": sum(sum(row.values()) for row in tally["particles_written"].values())}
    counts |= tally["clusters_rejected"]
    seen = tally["clusters_seen"]
    return Statistics(
        classes=pd.DataFrame(_class_rows(particles)),
        clusters=pd.DataFrame(
            {
                "outcome": list(counts),
                "clusters": list(counts.values()),
                "fraction": [n / seen if seen else 0.0 for n in counts.values()],
                "meaning": ["particles in the shards", *REJECTIONS.values()],
            }
        ),
        other_species=pd.DataFrame(
            [
                (int(code), name_of_pdg(int(code)), count, count / seen)
                for code, count in sorted(tally["other_species"].items(), key=lambda row: -row[1])
            ],
            columns=["pdg", "name", "clusters", "fraction"],
        ),
        notes=tuple(_notes(tally, attributes["sources"])),
        num_events=int(tally["events"]),
        num_shards=len(attributes["shards"]),
        num_sources=len(attributes["sources"]),
        bad_files=tuple(attributes["bad_files"]),
    )


def _notes(tally: Mapping[str, Any], sources: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Describe what the files have that PILArNet's do not have."""
    if tally["repeated_numbers"]:
        yield (
            f"{tally['repeated_numbers']:,} events have run, subrun and number of another: "
            "their entries determine their splits too"
        )
    if tally["repeated_voxels"]:
        yield f"repeated voxels merged: {tally['repeated_voxels']:,}"
    for source in sources:
        if source["units"]["energy"] == "GeV":
            momenta = source["units"]["momentum"]
            yield f"{source['name']}: energies in GeV, momenta in {momenta}/c, converted to MeV"
    if tally["below_mass"]:
        source, entry = tally["first_below_mass"]
        yield (
            f"warning: {tally['below_mass']:,} particles have a total energy below their mass, the "
            f"first in {sources[source]['name']}, entry {entry}; see --energy-unit"
        )


def particle_table(shards: Shards, *, show_progress: bool = False) -> pd.DataFrame:
    """Read ``split``, ``label``, ``num_voxels`` and ``energy_deposit`` (MeV) of every particle."""
    import pandas as pd  # here, as it takes 0.2 s and few commands need it

    dtypes = {"split": str, "label": np.int8, "num_voxels": np.int64, "energy_deposit": np.float32}
    parts = [pd.DataFrame({name: np.empty(0, dtype) for name, dtype in dtypes.items()})]
    every = [(split, shard) for split in SPLITS for shard in shards.splits[split]]
    with progress_bar(every, unit="shard", description="counting", show=show_progress) as bar:
        for split, shard in bar:
            columns = {"num_voxels": np.diff(shard.offset)}
            columns |= shard.read(["label", "energy_deposit"])
            parts.append(pd.DataFrame({"split": split, **columns}))
    return pd.concat(parts, ignore_index=True)


def _class_rows(particles: pd.DataFrame) -> Iterator[dict[str, Any]]:
    published = sum(PUBLISHED_COUNTS.values())
    for split in (*SPLITS, "all"):
        rows = particles if split == "all" else particles[particles["split"] == split]
        for species in (*CLASSES, None):
            chosen = rows if species is None else rows[rows["label"] == species.label]
            yield {
                "split": split,
                "class": "all" if species is None else species.name,
                "count": len(chosen),
                "fraction": len(chosen) / len(rows) if len(rows) else 0.0,
                "published_fraction": (
                    1.0 if species is None else PUBLISHED_COUNTS[species.name] / published
                ),
                **_percentiles("voxels", chosen["num_voxels"].to_numpy()),
                **_percentiles("energy_mev", chosen["energy_deposit"].to_numpy()),
            }


def _percentiles(name: str, values: NDArray[Any]) -> dict[str, float]:
    known = values[np.isfinite(values)]
    found = np.percentile(known, PERCENTILES) if len(known) else [np.nan] * len(PERCENTILES)
    return {f"{name}_p{p:02d}": float(v) for p, v in zip(PERCENTILES, found, strict=True)}
