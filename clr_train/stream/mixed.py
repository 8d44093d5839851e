"""Batches of labelled particles and of particles without labels."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Final

import torch

from clr_train.batch import ParticleBatch
from clr_train.stream.stream import ParticleStream

__all__ = ["MixedStream"]

#: Added to the numbers of unlabelled particles, so that none has that of a labelled one.
_FIRST_UNLABELLED: Final = 1 << 40


class MixedStream:
    """Joins the batches of two streams.

    An epoch has as many batches as the labelled stream; the unlabelled one continues from epoch
    to epoch, and starts again when it ends. The labels of its particles are -1. A stream with fewer
    particles than half a batch gives all of them, which does not make the other half smaller.
    """

    def __init__(self, labelled: ParticleStream, unlabelled: ParticleStream) -> None:
        self.labelled, self.unlabelled = labelled, unlabelled

    @property
    def num_batches(self) -> int:
        """Batches of an epoch, the same for every epoch and on every rank."""
        return self.labelled.num_batches

    @property
    def num_particles(self) -> int:
        """Particles that pass the filters, labelled or not, over all ranks."""
        return self.labelled.num_particles + self.unlabelled.num_particles

    @property
    def batch_size(self) -> int:
        """Particles of a batch, labelled or not, over all ranks."""
        return self.labelled.batch_size + self.unlabelled.batch_size

    @property
    def workers(self) -> int:
        """Reading processes of each stream."""
        return self.labelled.workers

    @property
    def identity(self) -> str:
        """A checksum of the contents of the shards."""
        return f"{self.labelled.identity} and {self.unlabelled.identity}"

    def lines(self) -> list[str]:
        """Describe how many particles are used, and why others are not."""
        unlabelled = (f"unlabelled {line}" for line in self.unlabelled.lines())
        return [*self.labelled.lines(), *unlabelled]

    def batches(self, epoch: int, start_batch: int = 0) -> Iterator[ParticleBatch]:
        """Iterate over this rank's part of the batches of an epoch, from `start_batch` on."""
        step = epoch * self.num_batches + start_batch
        others = self._unlabelled(*divmod(step, self.unlabelled.num_batches))
        for batch in self.labelled.batches(epoch, start_batch):
            yield ParticleBatch.concatenate([batch, next(others)])

    def _unlabelled(self, epoch: int, start_batch: int) -> Iterator[ParticleBatch]:
        while True:
            for batch in self.unlabelled.batches(epoch, start_batch):
                yield dataclasses.replace(
                    batch,
                    label=torch.full_like(batch.label, -1),
                    particle=batch.particle + _FIRST_UNLABELLED,
                )
            epoch, start_batch = epoch + 1, 0

    def close(self) -> None:
        """End the processes that read; the next iteration starts new ones."""
        self.labelled.close()
        self.unlabelled.close()
