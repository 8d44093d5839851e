"""The options of a stream."""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import Any, Final

from pilarnet_convert.options import OptionError, check_options, documented, flag, option
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import ShardPaths, path_strings
from pilarnet_convert.species import CLASSES
from pilarnet_convert.storage.cache import RangeCache
from pilarnet_convert.storage.remote import as_path

__all__ = ["SHARDS_HELP", "StreamConfig"]

#: Of options that name shards, here and in `clr_eval.config`.
SHARDS_HELP: Final = (
    "Shards written by pilarnet-convert: a folder or a URL; may be repeated, to read several "
    "sets as one."
)


@documented
@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """The particles that a stream reads, and its batches.

    With `voxel_budget`, a batch that has too many voxels loses its largest particles, as few as
    possible and the same number on every process. The batches then depend on the number of
    processes. With `balanced`, an epoch has all particles of the rarest class and as many of each
    other class, drawn anew for each epoch.

    An `OptionError` is raised for a value outside its limits.
    """

    shards: ShardPaths = option(
        (),
        SHARDS_HELP,
        metavar="FOLDER",
        repeated=True,
        may_change=True,
    )
    split: str = option("train", "Split that the batches come from.", choices=SPLITS)
    classes: tuple[str, ...] = option(
        (),
        "Classes to keep, comma-separated; all unless given.",
        choices=tuple(c.name for c in CLASSES),
    )
    min_voxels: int = option(1, "Leave out particles of fewer voxels.", least=1)
    max_voxels: int | None = option(
        None, "Leave out particles of more voxels; none unless given.", least=1
    )
    voxel_budget: int | None = option(
        None,
        "Most voxels of a batch on one process; a larger batch loses its largest particles. No "
        "limit unless given.",
        least=1,
    )
    balanced: bool = option(False, "Draw all classes equally often.")
    batch_size: int = option(256, "Particles of a batch, over all processes together.", least=1)
    seed: int = option(0, "Seed of weights, order, views, drop path.", least=0, most=2**31 - 1)
    cache: str | None = option(
        None,
        "Folder that keeps what was read of remote shards, for later epochs and runs; none unless "
        "given.",
        metavar="FOLDER",
        may_change=True,
    )
    cache_size: float = option(
        50.0,
        "Largest size of the folder of --cache, gigabytes; the least recently used is removed "
        "first.",
        above=0,
        may_change=True,
    )
    workers: int | None = option(
        None,
        "Processes that read shards; 0 on the CPU and 4 on a GPU unless given.",
        least=0,
        most=1024,
        may_change=True,
    )

    def __post_init__(self) -> None:
        object.__setattr__(self, "shards", path_strings(self.shards))
        check_options(self)
        for name in ("max_voxels", "voxel_budget"):
            value = getattr(self, name)
            if value is not None and value < self.min_voxels:
                raise OptionError(
                    "unusable value",
                    field=flag(name),
                    expected=f"at least --min-voxels {self.min_voxels}",
                    found=value,
                )

    def open_cache(self) -> RangeCache | None:
        """Open the folder of `cache`; None without one."""
        if self.cache is None:
            return None
        return RangeCache(as_path(self.cache), most_bytes=int(self.cache_size * 1e9))

    def for_stream(self, **changes: Any) -> StreamConfig:
        """Return the options of the stream alone, without those of a training, with changes."""
        own = {field.name: getattr(self, field.name) for field in fields(StreamConfig)}
        return StreamConfig(**(own | changes))

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels of the classes to keep."""
        return tuple(c.label for c in CLASSES if not self.classes or c.name in self.classes)
