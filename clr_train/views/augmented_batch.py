"""A ragged batch of particles on its way through the augmentations.

V voxels, N particles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from clr_train import host
from clr_train.batch import ParticleBatch
from clr_train.keys import fold_in

__all__ = ["Cloud", "Rows"]


@dataclass(frozen=True, kw_only=True)
class Rows:
    """Which voxels of a ragged batch are whose.

    Parameters
    ----------
    offset : Tensor, int64 [N + 1]
        First voxel of each particle.
    num_voxels : int
        V; given, so that a GPU need not be asked.
    """

    offset: Tensor
    num_voxels: int

    @classmethod
    def of(cls, batch: ParticleBatch) -> Rows:
        """Give the rows of a batch."""
        return cls(offset=batch.offset, num_voxels=batch.num_voxels)

    @cached_property
    def size(self) -> Tensor:
        """Voxels of each particle, int64 [N]."""
        return self.offset.diff()

    @cached_property
    def owner(self) -> Tensor:
        """Particle of each voxel, int64 [V]."""
        number = torch.arange(len(self.size), device=self.offset.device)
        return torch.repeat_interleave(number, self.size, output_size=self.num_voxels)

    @cached_property
    def place(self) -> Tensor:
        """Place of each voxel in its particle, from 0, int64 [V]."""
        return torch.arange(self.num_voxels, device=self.offset.device) - self.spread(
            self.offset[:-1]
        )

    def spread(self, values: Tensor) -> Tensor:
        """Give each voxel the value of its particle, [N] -> [V] or [R, N] -> [R, V]."""
        if host.holds(values):
            # numpy fills runs; torch gathers voxel by voxel, at several times the cost.
            return torch.from_numpy(np.repeat(values.numpy(), self.size.numpy(), axis=-1))
        return values.index_select(-1, self.owner)

    def reduce(self, values: Tensor, how: str) -> Tensor:
        """Reduce voxels to particles, float32 [R, V] -> [R, N], by "min" or "max"."""
        if host.holds(values):
            # Many times as fast as what torch has; no particle is empty, which it could not do.
            ufunc = np.minimum if how == "min" else np.maximum
            first = self.offset[:-1].numpy()
            return torch.from_numpy(ufunc.reduceat(values.numpy(), first, axis=-1))
        return torch.stack([torch.segment_reduce(v, how, offsets=self.offset) for v in values])

    def total(self, values: Tensor) -> Tensor:
        """Sum whole numbers over voxels, exactly: float32 [R, V] -> float64 [R, N]."""
        if host.holds(values):
            first = self.offset[:-1].numpy()
            return torch.from_numpy(
                np.add.reduceat(values.numpy(), first, axis=-1, dtype=np.float64)
            )
        running = values.cumsum(1, dtype=torch.float64).index_select(1, self.offset[1:] - 1)
        return running.diff(dim=1, prepend=running.new_zeros((len(values), 1)))

    def bits(self, keys: Tensor) -> Tensor:
        """Draw 64 random bits for each voxel, keyed by particle and place in it, int64 [V]."""
        return fold_in(self.spread(keys), self.place)


@dataclass(frozen=True, kw_only=True)
class Cloud:
    """A ragged batch on its way through the augmentations.

    Parameters
    ----------
    rows : Rows
        Whose the voxels are.
    position : Tensor, float32 [3, V]
        Voxels as stored, whole numbers.
    energy : Tensor, float32 [V]
        MeV.
    centroid : Tensor, float64 [3, N]
        Mean position of each particle's voxels.
    alive : Tensor, bool [V], optional
        False where a voxel was removed; its row stays, so that shapes need no look at the device.
        None: all are there.
    turn : Tensor, float32 [3, 3, N], optional
        Rotation of each particle about the origin; None turns nothing.
    shift : Tensor, float32 [3, N], optional
        What is then added to the positions of a particle.
    moves : Tensor, float32 [3, V], optional
        What is then added to the position of a voxel.
    """

    rows: Rows
    position: Tensor
    energy: Tensor
    centroid: Tensor
    alive: Tensor | None = None
    turn: Tensor | None = None
    shift: Tensor | None = None
    moves: Tensor | None = None

    def moved(self) -> Tensor:
        """Give the positions with all motions done, float32 [3, V], a tensor of its own."""
        position = self.position
        if self.turn is not None and self.shift is not None:
            # Written out, not a matrix product, whose order of summation is the library's affair.
            motion = torch.cat([self.turn, self.shift[:, None]], dim=1)
            terms = self.rows.spread(motion.flatten(0, 1)).view(3, 4, -1)
            terms[:, :3] *= position
            position = terms[:, 0].add_(terms[:, 1]).add_(terms[:, 2]).add_(terms[:, 3])
        elif self.shift is not None:
            position = self.rows.spread(self.shift).add_(position)
        else:
            position = position.clone()
        return position if self.moves is None else position.add_(self.moves)

    def keeping(self, kept: Tensor) -> Cloud:
        """Remove the voxels where `kept`, bool [V], is False."""
        return replace(self, alive=kept if self.alive is None else self.alive & kept)

    def shifted(self, steps: Tensor) -> Cloud:
        """Add to the shift, float32 [3, N]."""
        return replace(self, shift=steps if self.shift is None else self.shift + steps)
