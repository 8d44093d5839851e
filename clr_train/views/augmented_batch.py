"""A ragged batch of particles on its way through the augmentations.

V voxels, N particles.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch
from clr_train.keys import fold_in
from clr_train.ragged import RaggedIndex

__all__ = ["AugmentedBatch", "Draw"]


@dataclass(frozen=True, kw_only=True)
class AugmentedBatch:
    """Voxels, and what augmentations have done to them so far.

    Parameters
    ----------
    index : RaggedIndex
        Which voxels belong to which particle; each has one or more.
    position : Tensor, float32 [3, V]
        Voxel indices, whole numbers.
    energy : Tensor, float32 [V]
        MeV.
    centroid : Tensor, float64 [3, N]
        Mean position of each particle's voxels.
    alive : Tensor, bool [V], optional
        False where a voxel was removed; its row stays, so that shapes are known without a
        synchronisation with the GPU. None: no voxel was removed.
    rotation : Tensor, float32 [3, 3, N], optional
        Linear map of each particle, a rotation unless it is flipped or scaled too.
    translation : Tensor, float32 [3, N], optional
        What is then added to the positions of a particle.
    jitter : Tensor, float32 [3, V], optional
        What is then added to the position of a voxel.
    """

    index: RaggedIndex
    position: Tensor
    energy: Tensor
    centroid: Tensor
    alive: Tensor | None = None
    rotation: Tensor | None = None
    translation: Tensor | None = None
    jitter: Tensor | None = None

    @classmethod
    def of(cls, batch: ParticleBatch, *, copies: int = 1) -> AugmentedBatch:
        """Make `copies` copies of a batch, one after the other."""
        position = batch.xyz.T.to(torch.float32, memory_format=torch.contiguous_format)
        centroid = batch.index.mean(position.double(), dim=-1)
        first = torch.arange(copies, device=batch.device)[:, None] * batch.num_voxels
        offset = torch.cat([batch.offset[:1], (first + batch.offset[1:]).flatten()])
        return cls(
            index=RaggedIndex(offset, num_rows=copies * batch.num_voxels),
            position=position.repeat(1, copies),
            energy=batch.energy.repeat(copies),
            centroid=centroid.repeat(1, copies),
        )

    def broadcast(self, values: Tensor) -> Tensor:
        """Repeat the value of a particle for each of its voxels, [N] to [V] or [R, N] to [R, V]."""
        return self.index.broadcast(values, dim=-1)

    def bits(self, keys: Tensor) -> Tensor:
        """Draw 64 random bits for each voxel, int64 [V], keyed by particle and index within it."""
        return fold_in(self.broadcast(keys), self.index.local_index)

    def moved(self) -> Tensor:
        """Compute the positions after all motions, float32 [3, V], as a new tensor."""
        position = self.position
        if self.rotation is not None and self.translation is not None:
            # Written out: the order in which a matrix product sums differs between libraries.
            motion = torch.cat([self.rotation, self.translation[:, None]], dim=1)
            terms = self.broadcast(motion.flatten(0, 1)).view(3, 4, -1)
            terms[:, :3] *= position
            position = terms[:, 0].add_(terms[:, 1]).add_(terms[:, 2]).add_(terms[:, 3])
        elif self.translation is not None:
            position = self.broadcast(self.translation).add_(position)
        else:
            position = position.clone()
        return position if self.jitter is None else position.add_(self.jitter)

    def keep(self, kept: Tensor) -> AugmentedBatch:
        """Remove voxels where `kept`, bool [V], is False.

        A particle that would lose all of its voxels keeps them.
        """
        alive = kept if self.alive is None else self.alive & kept
        restored = self.broadcast(self.index.max(alive.float(), dim=-1) == 0)
        if self.alive is not None:
            restored &= self.alive
        return replace(self, alive=alive | restored)

    def append(self, index: RaggedIndex, *, position: Tensor, energy: Tensor) -> AugmentedBatch:
        """Add voxels, float32 [3, W] and [W], each after the existing voxels of its particle.

        `index` says which of them belong to which particle.
        """
        owners = torch.cat([self.index.particle, index.particle])
        order = owners.sort(stable=True).indices
        alive = self.alive
        if alive is not None:
            alive = torch.cat([alive, torch.ones_like(energy, dtype=torch.bool)])[order]
        return replace(
            self,
            index=RaggedIndex(self.index.offset + index.offset, num_rows=len(owners)),
            position=torch.cat([self.position, position], dim=1)[:, order],
            energy=torch.cat([self.energy, energy])[order],
            alive=alive,
        )

    def transform(self, matrix: Tensor) -> AugmentedBatch:
        """Map positions linearly about the centroids, float64 [3, 3, N], after earlier maps."""
        if self.rotation is not None:
            matrix = (matrix[:, :, None] * self.rotation[None].double()).sum(1)
        rotation = matrix.float().expand(3, 3, self.index.num_particles)
        shift = self.centroid - (rotation * self.centroid).sum(1)
        return replace(self, rotation=rotation, translation=shift.float())

    def translate(self, steps: Tensor) -> AugmentedBatch:
        """Add to the translation, float32 [3, N]; no linear map may follow."""
        total = steps if self.translation is None else self.translation + steps
        return replace(self, translation=total)


@dataclass(frozen=True, kw_only=True)
class Draw:
    """Which particles drew an augmentation, and their random keys.

    Parameters
    ----------
    chosen : Tensor, bool [N]
        Whether each particle drew it.
    keys : Tensor, int64 [N]
        The random key of each particle's view for this augmentation.
    """

    chosen: Tensor
    keys: Tensor

    def strength(self, value: float) -> Tensor:
        """Return `value` for the particles that drew it, and 0 for the others, float32 [N]."""
        return self.chosen.to(torch.float32).mul_(value)
