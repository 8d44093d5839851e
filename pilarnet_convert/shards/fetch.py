"""Fetching all that some reads of remote shards need, together and before they begin."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from pilarnet_convert.shards.shard import Shard

__all__ = ["ShardRead", "fetched"]


class ShardRead(NamedTuple):
    """Arrays of the particles `start` to `stop`, end excluded, of a shard."""

    shard: Shard
    names: Sequence[str]
    start: int
    stop: int


@contextmanager
def fetched(reads: Sequence[ShardRead]) -> Iterator[None]:
    """Fetch what `Shard.read` needs into memory, until the end of the block; not if it is local.

    There are at most two rounds of requests: first the indices of arrays that were not read before,
    then the chunks. All shards must belong to one `Shards`.
    """
    remote = [read for read in reads if read.shard.is_remote]
    if not remote or remote[0].shard.ranges.is_holding:
        yield
        return
    ranges = remote[0].shard.ranges
    with ranges.holding():
        ranges.fetch([r for shard, names, _, _ in remote for r in shard.opening_ranges(names)])
        ranges.fetch([r for read in remote for r in read.shard.chunk_ranges(*read[1:])])
        yield
