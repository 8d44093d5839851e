"""Quantised voxels as stored particles."""

from __future__ import annotations

import torch

from clr_train.batch import ParticleBatch, VoxelBatch

__all__ = ["as_particles"]


def as_particles(voxels: VoxelBatch, *, like: ParticleBatch) -> ParticleBatch:
    """Give quantised voxels the form of stored particles.

    Parameters
    ----------
    voxels : VoxelBatch
        Rows sorted by particle; the one feature is the energy, MeV.
    like : ParticleBatch
        The particles that they are made of.
    """
    size = torch.bincount(voxels.batch, minlength=voxels.num_particles)
    return ParticleBatch(
        xyz=voxels.xyz,
        energy=voxels.features[:, 0].contiguous(),
        offset=torch.cat([size.new_zeros(1), size.cumsum(0)]),
        label=like.label,
        particle=like.particle,
    )
