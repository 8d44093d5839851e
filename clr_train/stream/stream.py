"""Particles from the shards to the device, in batches: filters, epochs, ranks and workers.

`selection` filters, `sampling` plans, `reader` reads; here they are joined, over worker processes
if there are any.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from clr_train.batch import ParticleBatch
from clr_train.stream.filters import StreamReport, select
from clr_train.stream.loader import SpanLoader
from clr_train.stream.reader import SplitReader
from clr_train.stream.spans import SpanOptions, Spans, fill
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.species import CLASSES

__all__ = ["ParticleStream", "StreamConfig", "StreamReport"]


@dataclass(frozen=True, kw_only=True)
class StreamConfig:
    """What a stream gives.

    Parameters
    ----------
    shards : str or Path
        What ``pilarnet-convert`` wrote.
    split : str
        ``train``, ``val`` or ``test``.
    batch_size : int
        Particles of a batch, over all ranks together.
    seed : int
        Of the order and of what balancing draws.
    classes : tuple of str
        Names of the classes to keep; all if empty.
    min_voxels, max_voxels : int
        Smallest and largest particle to keep; None sets no limit.
    voxel_budget : int, optional
        Most voxels of a batch on one rank. Of a batch that holds more, the largest particles are
        cut, as few as need be, and as many on every rank, so with a budget what is seen depends on
        their number; a particle that exceeds it alone is never in a batch.
    balanced : bool
        Take as many of each class in an epoch as there are of the rarest, drawn without
        replacement and anew each epoch: no particle comes twice, and an epoch is shorter.
    block_particles : int
        Consecutive particles that are read together.
    shuffle_particles : int
        Particles, from blocks all over the split, among which the order is random.
    workers : int
        Processes that read; 0 reads in the calling one. Batches do not depend on it.
    pin_memory : bool
        Whether batches lie in page-locked memory, for copies to a GPU that overlap work.

    Raises
    ------
    PilarnetError
        If a class is unknown or a number out of range.
    """

    shards: str | Path
    split: str = "train"
    batch_size: int = 256
    seed: int = 0
    classes: tuple[str, ...] = ()
    min_voxels: int = 1
    max_voxels: int | None = None
    voxel_budget: int | None = None
    balanced: bool = False
    block_particles: int = 512
    shuffle_particles: int = 8192
    workers: int = 0
    pin_memory: bool = False

    def __post_init__(self) -> None:
        names = [c.name for c in CLASSES]
        for name in self.classes:
            if name not in names:
                raise PilarnetError(
                    "no such class",
                    field="--classes",
                    expected=f"some of {', '.join(names)}",
                    found=name,
                )
        least = {
            "batch_size": 1,
            "min_voxels": 1,
            "max_voxels": self.min_voxels,
            "voxel_budget": self.min_voxels,
            "block_particles": 1,
            "shuffle_particles": 1,
            "workers": 0,
        }
        for field, lowest in least.items():
            value = getattr(self, field)
            if value is not None and value < lowest:
                raise PilarnetError(
                    "out of range",
                    field="--" + field.replace("_", "-"),
                    expected=f"at least {lowest}",
                    found=value,
                )

    @property
    def labels(self) -> tuple[int, ...]:
        """Labels of the classes to keep."""
        return tuple(c.label for c in CLASSES if not self.classes or c.name in self.classes)


class ParticleStream:
    """Batches of particles of one split.

    Parameters
    ----------
    config : StreamConfig
        What to give.
    rank, world_size : int
        This process among those that share each batch: it sees its part of every batch, and all
        see as many batches. The parts of all ranks, joined, are the batch of a single process.

    Raises
    ------
    ShardError
        If there are no shards, or they cannot be read.
    PilarnetError
        If no particle is left, or a batch cannot be shared by the ranks.
    """

    def __init__(self, config: StreamConfig, *, rank: int = 0, world_size: int = 1) -> None:
        if config.batch_size % world_size:
            raise PilarnetError(
                "a batch cannot be shared evenly",
                field="--batch-size",
                expected=f"a multiple of {world_size}, the number of processes",
                found=config.batch_size,
            )
        self.config = config
        self._reader = SplitReader(
            config.shards, split=config.split, block_particles=config.block_particles
        )
        self._selection = select(
            self._reader.layout,
            labels=config.labels,
            min_voxels=config.min_voxels,
            max_voxels=config.max_voxels,
            voxel_budget=config.voxel_budget,
        )
        options = SpanOptions(
            seed=config.seed,
            batch_size=config.batch_size,
            span_batches=max(1, config.shuffle_particles // config.batch_size),
            world_size=world_size,
            balanced=config.balanced,
            voxel_budget=config.voxel_budget,
        )
        self._spans = Spans(self._reader, self._selection.particles, options=options, rank=rank)
        self._loader = SpanLoader(self._spans, workers=config.workers, pin_memory=config.pin_memory)
        if not self.num_particles:
            raise PilarnetError(
                "no particle passes the filters",
                file=config.shards,
                field=config.split,
                found="; ".join(self.report.lines()[1:]),
                advice="widen --classes, --min-voxels, --max-voxels or --voxel-budget",
            )

    @property
    def num_particles(self) -> int:
        """Particles that pass the filters, over all ranks."""
        return len(self._selection.particles)

    @cached_property
    def num_batches(self) -> int:
        """Batches of an epoch, the same for every epoch and on every rank.

        Raises
        ------
        PilarnetError
            If the particles do not fill one.
        """
        num_batches = len(self._spans.plan(0).order)
        if not num_batches:
            unbalanced = self.report.unbalanced
            raise PilarnetError(
                "too few particles for one batch",
                file=self.config.shards,
                field=self.config.split,
                expected=f"at least --batch-size {self.config.batch_size}",
                found=self.num_particles - unbalanced,
                advice="choose a smaller --batch-size, or "
                + ("do not balance classes" if unbalanced else "convert more events"),
            )
        return num_batches

    @cached_property
    def report(self) -> StreamReport:
        """What of the split is seen and what is not, with what epoch 0 leaves out."""
        layout, plan = self._reader.layout, self._spans.plan(0)
        label = layout.label[self._selection.particles]
        return StreamReport(
            split=self.config.split,
            total=len(layout.label),
            kept=self.num_particles,
            counts={c.name: int(np.count_nonzero(label == c.label)) for c in CLASSES},
            cut=self._selection.cut,
            unbalanced=plan.left_out,
            remainder=plan.remainder,
            over_budget=plan.num_cut(),
        )

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[ParticleBatch]:
        """Iterate over this rank's part of the batches of an epoch.

        Only one such iteration at a time: to begin another ends it.

        Parameters
        ----------
        epoch : int
            The order depends on it and on the seed.
        start_batch : int
            The first batch to give; those before cost nothing.

        Raises
        ------
        ShardError
            If a shard is damaged.
        PilarnetError
            If the particles do not fill one batch, or a worker died.
        """
        if not 0 <= start_batch <= self.num_batches:
            raise ValueError(f"start_batch: expected 0 to {self.num_batches}, found {start_batch}")
        sizes = self._spans.plan(epoch).sizes()
        requests = self._spans.requests(epoch, start_batch)
        for request, span in zip(requests, self._loader.read(requests), strict=True):
            yield from span.split(sizes[request.first : request.last].tolist())

    def sequential(self, batch_size: int) -> Iterator[ParticleBatch]:
        """Iterate once over every particle that passes the filters, in the order of the shards.

        For evaluation: on this process alone, whatever the ranks, nothing shuffled, balanced or
        left out. A batch holds fewer than `batch_size` particles at the end, and where more would
        exceed the voxel budget.
        """
        particles = self._selection.particles
        budget = self.config.voxel_budget
        step = batch_size * max(1, self.config.shuffle_particles // batch_size)
        for first in range(0, len(particles), step):
            piece = particles[first : first + step]
            sizes = fill(self._reader.layout.num_voxels[piece], batch_size, budget=budget)
            yield from self._reader.read(piece).split(sizes.tolist())

    def close(self) -> None:
        """End the worker processes; the next iteration starts new ones."""
        self._loader.close()
