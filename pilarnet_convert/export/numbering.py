"""The numbers by which an export names the shards of one or several sets."""

from __future__ import annotations

from collections.abc import Iterator

from pilarnet_convert.shards.reader import Shards
from pilarnet_convert.shards.shard import Shard

__all__ = ["numbered_shards"]


def numbered_shards(shards: Shards, split: str) -> Iterator[tuple[str, Shard]]:
    """Yield the shards of a split, each with a number of five digits that no other has.

    It is the number in the name of the shard, as long as that is larger than the one before;
    where another set begins, counting continues from there.
    """
    number = -1
    for shard in shards.splits[split]:
        number = max(number + 1, int(shard.path.name))
        yield f"{number:05d}", shard
