"""The options of a conversion."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from pilarnet_convert.options import OptionError, check_options, documented, option
from pilarnet_convert.particles import Selection
from pilarnet_convert.readers.kinds import ENERGY_UNITS, READERS, Reading
from pilarnet_convert.readers.products import parse_products
from pilarnet_convert.shards.format import SPLITS

__all__ = ["ConvertConfig"]


@documented
@dataclass(frozen=True, kw_only=True)
class ConvertConfig:
    """The options of `convert` and ``pilarnet-convert``; `OptionError` for a bad value."""

    min_voxels: int = option(10, "The minimum number of voxels of a particle.", least=1)
    splits: str = option(
        "train=0.8,val=0.1,test=0.1",
        "Fractions of the events; all particles of an event go to one split.",
        metavar="NAME=X,...",
    )
    primaries_only: bool = option(
        False,
        "Keep only primary particles: as the file marks them, else those that name themselves as "
        "their parent track.",
    )
    events_per_shard: int | None = option(
        None,
        "About how many events make up the shards of one number (train/00012, val/00012, "
        "test/00012); unless given, up to 64 MB of compressed voxels, some 2,500 events of 512 "
        "pixels.",
        least=1,
    )
    max_events: int | None = option(
        None, "Convert only so many events, the first ones; all unless given.", least=1
    )
    reader: str = option(
        "auto",
        "auto recognises the kind of each file by its content; dlp reads LArCV2 through "
        "dlp_opendata_api and ROOT.",
        choices=READERS,
        may_change=True,
    )
    products: str | None = option(
        None,
        "The products to read from LArCV files; unless given, those called mcst, else pcluster, "
        "else the only pair.",
        metavar="cluster3d_NAME,particle_NAME",
    )
    energy_unit: str = option(
        "auto",
        "The unit of the particles' energies in LArCV files; auto determines it from their masses "
        "and momenta.",
        choices=ENERGY_UNITS,
    )
    allow_duplicates: bool = option(
        False, "Convert the same content twice if it is named twice.", may_change=True
    )
    workers: int | None = option(
        None,
        "Processes; all cores unless given. The shards are the same for any number.",
        least=1,
        most=1024,
        may_change=True,
    )
    dask: str | None = option(
        None,
        "Run on the workers of a Dask cluster: the address of its scheduler, or its scheduler "
        "file. Input and output must lie where all workers see them.",
        metavar="ADDRESS",
        may_change=True,
    )
    skip_bad_files: bool = option(
        False,
        "Leave out what cannot be read; it is listed, and the exit code is 3.",
        may_change=True,
    )

    def __post_init__(self) -> None:
        check_options(self)
        if self.dask is not None and self.workers is not None:
            raise OptionError("--dask and --workers exclude each other", advice="choose one")
        self.selection  # noqa: B018 - checks the fractions
        self.reading  # noqa: B018 - checks the products

    @cached_property
    def selection(self) -> Selection:
        """Which clusters become particles, and in which split."""
        return Selection(
            min_voxels=self.min_voxels,
            primaries_only=self.primaries_only,
            splits=_parse_splits(self.splits),
        )

    @cached_property
    def reading(self) -> Reading:
        """How the files are read."""
        products = None if self.products is None else parse_products(self.products)
        if self.products is not None and products is None:
            raise OptionError(
                "not a pair of products",
                field="--products",
                expected="cluster3d_NAME,particle_NAME",
                found=self.products,
            )
        if products is not None and self.reader == "dlp":
            raise OptionError(
                "dlp reads cluster3d_mcst and particle_mcst alone",
                field="--products",
                found=self.products,
                advice="leave --reader out",
            )
        return Reading(reader=self.reader, products=products, energy_unit=self.energy_unit)

    def fixed(self) -> dict[str, Any]:
        """Return the options that determine the contents of the shards, as JSON values."""
        values = {
            field.name: getattr(self, field.name)
            for field in dataclasses.fields(self)
            if not field.metadata["may_change"]
        }
        return values | {"splits": dict(self.selection.splits)}


def _parse_splits(text: str) -> dict[str, float]:
    """Read fractions such as ``train=0.8,val=0.1,test=0.1``, which add up to 1."""
    try:
        pairs = [part.split("=") for part in text.split(",")]
        splits = {name.strip(): float(value) for name, value in pairs}
    except ValueError:
        splits = {}
    valid = splits and set(splits) <= set(SPLITS) and all(0 <= f <= 1 for f in splits.values())
    if not valid or len(pairs) != len(splits) or abs(sum(splits.values()) - 1) > 1e-6:
        raise OptionError(
            "not fractions of the splits",
            field="--splits",
            expected="train, val and test adding up to 1, as in train=0.8,val=0.1,test=0.1",
            found=text,
        )
    return {split: splits.get(split, 0.0) for split in SPLITS}
