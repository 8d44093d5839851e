"""Batches of the particles of a split, over epochs, ranks and reading processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from functools import cached_property
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.keys import key, permutation
from clr_train.stream.config import StreamConfig
from clr_train.stream.layout import StreamSummary, apply_filters
from clr_train.stream.loader import SpanLoader
from clr_train.stream.reader import EmptySplitError, SplitReader
from clr_train.stream.sampling import EpochPlan, fill_batches, plan_epoch
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError
from pilarnet_convert.species import CLASSES

__all__ = ["ParticleStream", "open_stream"]

_CPU: Final = torch.device("cpu")
_WORKERS_FOR_A_GPU: Final = 4
#: Samples use other random keys than the order of an epoch.
_SAMPLE: Final = 1 << 21


class ParticleStream:
    """Batches of particles of one split.

    Parameters
    ----------
    config : StreamConfig
        The particles and the batches.
    rank : int
        The rank of this process among those that share each batch.
    world_size : int
        The number of processes that share each batch. All have the same number of batches; the
        parts of all ranks, joined, are the batch of a single process.
    device : torch.device
        Where the batches are used. For a GPU they are in page-locked memory, from which a copy
        overlaps with computation.
    block_particles : int
        Consecutive particles that are read together.
    shuffle_particles : int
        Particles, from blocks all over the split, among which the order is random.

    Raises
    ------
    PilarnetError
        The shards cannot be read, no particle passes the filters, or the ranks cannot share a
        batch evenly.
    """

    def __init__(
        self,
        config: StreamConfig,
        *,
        rank: int = 0,
        world_size: int = 1,
        device: torch.device = _CPU,
        block_particles: int = 512,
        shuffle_particles: int = 8192,
    ) -> None:
        if config.batch_size % world_size:
            raise OptionError(
                "a batch cannot be shared evenly",
                field="--batch-size",
                expected=f"a multiple of {world_size}, the number of processes",
                found=config.batch_size,
            )
        self.config = config
        self._rank, self._world_size = rank, world_size
        self._shuffle_particles = shuffle_particles
        self._reader = SplitReader(
            config.shards,
            split=config.split,
            block_particles=block_particles,
            cache=config.open_cache(),
        )
        self._kept, self._removed = apply_filters(self._reader.layout, config=config)
        #: Particles that pass the filters, over all ranks.
        self.num_particles = len(self._kept)
        #: Particles of a batch over all ranks: fewer than asked for if an epoch has no more.
        self.batch_size = self._cut_batch_size()
        self._last_plan: tuple[int, EpochPlan] | None = None
        #: Number of the latest iteration, which ends those before it.
        self._iteration = 0
        on_gpu = device.type == "cuda"
        #: Processes that read.
        self.workers = _WORKERS_FOR_A_GPU if on_gpu else 0
        if config.workers is not None:
            self.workers = config.workers
        self._loader = SpanLoader(self._reader, workers=self.workers, pin_memory=on_gpu)
        if not self.num_particles:
            raise EmptySplitError(
                "no particle passes the filters",
                file=self._reader.shards,
                field=config.split,
                found="; ".join(self.summary.lines()[1:]),
                advice="widen --classes, --min-voxels, --max-voxels or --voxel-budget",
            )

    def _cut_batch_size(self) -> int:
        label = self._reader.layout.label[self._kept]
        available = len(label)
        if self.config.balanced and available:
            counts = np.bincount(label)
            available = int(np.count_nonzero(counts) * counts[counts > 0].min())
        shared = available // self._world_size * self._world_size
        return min(self.config.batch_size, shared) or self.config.batch_size

    def __repr__(self) -> str:
        return (
            f"<ParticleStream {self._reader.shards}, {self.config.split}: {self.num_particles:,} "
            f"particles in batches of {self.batch_size:,}>"
        )

    @property
    def identity(self) -> str:
        """A checksum of the contents of the shards."""
        return self._reader.identity

    @cached_property
    def num_batches(self) -> int:
        """Batches of an epoch, the same for every epoch and on every rank.

        A PilarnetError is raised if the particles do not fill one.
        """
        num_batches = len(self._plan(0).order)
        if not num_batches:
            unbalanced = self.summary.unbalanced
            raise PilarnetError(
                "too few particles for one batch",
                file=self._reader.shards,
                field=self.config.split,
                expected=f"at least {self._world_size}, one for each process",
                found=self.num_particles - unbalanced,
                advice="do not balance classes" if unbalanced else "convert more events",
            )
        return num_batches

    @cached_property
    def summary(self) -> StreamSummary:
        """How many particles are used, and why others are not."""
        plan, label = self._plan(0), self._reader.layout.label
        return StreamSummary(
            split=self.config.split,
            total=len(label),
            kept=self.num_particles,
            counts={c.name: int(np.count_nonzero(label[self._kept] == c.label)) for c in CLASSES},
            removed=self._removed,
            unbalanced=plan.unbalanced,
            remainder=plan.remainder,
            over_budget=int(np.count_nonzero(~plan.keep)),
        )

    def lines(self) -> list[str]:
        """Describe how many particles are used, and why others are not."""
        lines = self.summary.lines()
        if self.batch_size < self.config.batch_size:
            lines.append(
                f"{self.config.split}: the batch of {self.config.batch_size:,} particles is cut to "
                f"{self.batch_size:,}, as an epoch has no more"
            )
        return lines

    def _plan(self, epoch: int) -> EpochPlan:
        if self._last_plan is None or self._last_plan[0] != epoch:
            plan = plan_epoch(
                self._reader.layout,
                self._kept,
                config=self.config.for_stream(batch_size=self.batch_size),
                epoch=epoch,
                span_batches=max(1, self._shuffle_particles // self.batch_size),
                world_size=self._world_size,
            )
            self._last_plan = epoch, plan
        return self._last_plan[1]

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[ParticleBatch]:
        """Iterate over this rank's part of the batches of an epoch, from `start_batch` on.

        Batches before it are not read. A second iteration, once it begins, ends the first without
        an error. A PilarnetError is raised if the particles do not fill one batch, a shard is
        damaged, or a process that reads died.
        """
        if not 0 <= start_batch <= self.num_batches:
            raise ValueError(f"start_batch: expected 0 to {self.num_batches}, found {start_batch}")
        plan = self._plan(epoch)
        self._iteration += 1
        iteration = self._iteration
        spans = plan.spans(start_batch)
        wanted = (plan.particles(*span, rank=self._rank) for span in spans)
        for span, batch in zip(spans, self._loader.read(wanted), strict=True):
            for part in batch.split(plan.sizes(*span)):
                yield part
                if iteration != self._iteration:
                    return

    def sequential(self, batch_size: int) -> Iterator[ParticleBatch]:
        """Iterate once over every particle that passes the filters, in the order of the shards.

        For evaluation: in this process, whatever its rank, and nothing is shuffled, balanced or
        left out. A batch has fewer than `batch_size` particles at the end, and if more would exceed
        the voxel budget.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size: expected 1 or more, found {batch_size}")
        step = batch_size * max(1, self._shuffle_particles // batch_size)
        for first in range(0, self.num_particles, step):
            particles = self._kept[first : first + step]
            num_voxels = self._reader.layout.num_voxels[particles]
            sizes = fill_batches(num_voxels, batch_size, budget=self.config.voxel_budget)
            yield from self._read(particles).split(sizes)

    def sample(self, most: int) -> ParticleBatch:
        """Read a sample of at most `most` of the particles that pass the filters, in random order.

        For evaluation, as `sequential`. It depends on the seed: it is the same at every call.
        """
        if most < 1:
            raise ValueError(f"most: expected 1 or more, found {most}")
        seed_key = key(self.config.seed, _SAMPLE)
        drawn = self._kept[permutation(self.num_particles, seed_key)[:most]]
        ascending = np.sort(drawn)
        # Few blocks at a time, as all of a block is read for one particle.
        num_blocks = max(1, self._shuffle_particles // self._reader.layout.block_particles)
        group = self._reader.layout.block_of(ascending) // num_blocks
        pieces = np.split(ascending, np.flatnonzero(np.diff(group)) + 1)
        whole = ParticleBatch.concatenate([self._read(piece) for piece in pieces])
        return whole.take(torch.from_numpy(np.searchsorted(ascending, drawn)))

    def _read(self, particles: NDArray[np.int64]) -> ParticleBatch:
        """Read particles, int64 [n], in this process."""
        return ParticleBatch.from_arrays(self._reader.read(particles))

    def close(self) -> None:
        """End an iteration and the processes that read; the next iteration starts new ones."""
        self._iteration += 1
        self._loader.close()


def open_stream(config: StreamConfig, *, split: str) -> ParticleStream:
    """Open a split of shards, with the filters and batches of a run.

    Parameters
    ----------
    config : StreamConfig or TrainConfig
        What to read; its `split` is not used.
    split : str
        ``"train"``, ``"val"`` or ``"test"``.

    Returns
    -------
    ParticleStream

    Raises
    ------
    PilarnetError
        The shards cannot be read, or no particle of the split passes the filters.
    """
    return ParticleStream(dataclasses.replace(config, split=split))
