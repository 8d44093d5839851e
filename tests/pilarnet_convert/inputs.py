"""The LArCV files of the tests, and what LArCV2 itself reads from them."""

from __future__ import annotations

import csv
import gzip
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import SHARED
from tests.sample import GEANT4, SAMPLE

__all__ = ["BUNDLED", "LARGER", "MODERN", "QUIRKS", "SPLIT", "Example", "expected_rows"]

_DATA = Path(__file__).parents[1] / "data"
QUIRKS = _DATA / "quirks_192px_00.root"
MODERN = _DATA / "modern_192px_00.root"
SPLIT = _DATA / "split" / "dlprod_512px_00.root"


@dataclass(frozen=True)
class Example:
    """A LArCV file and its expected contents, one row per cluster."""

    file: Path
    table: Path

    @property
    def id(self) -> str:
        return f"{self.file.parent.name}/{self.file.name}"


BUNDLED = [Example(file, file.with_suffix(".csv")) for file in (SAMPLE, QUIRKS, MODERN, SPLIT)]
BUNDLED += [Example(GEANT4, GEANT4.with_suffix(".csv.gz"))]
_GEANT4 = SHARED.parent / "geant4"
LARGER = [
    Example(SHARED / "dlprod_512px_00.root", SHARED / "expected" / "dlprod_512px_00.csv"),
    Example(
        SHARED / "train" / "dlprod_512px_10.root",
        SHARED / "expected" / "train_dlprod_512px_10.csv",
    ),
    Example(_GEANT4 / "big" / "g4_768px_00.root", _GEANT4 / "expected" / "big_g4_768px_00.csv"),
]


def expected_rows(table: Path) -> list[dict[str, str]]:
    """Read what LArCV2 reads; a cluster without a particle has empty fields."""
    with gzip.open(table, "rt") if table.suffix == ".gz" else table.open(newline="") as stream:
        return list(csv.DictReader(stream))
