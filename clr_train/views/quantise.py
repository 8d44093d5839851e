"""From augmented voxels to sites: the nearest points of the grid, as sorted keys."""

from __future__ import annotations

import torch

from clr_train.batch import SiteBatch
from clr_train.ragged import starts_run, sum_groups
from clr_train.site_keys import AXIS_BITS, MAX_COORDINATE, MAX_PARTICLES, pack, sort_keys
from clr_train.views.augmented_batch import AugmentedBatch
from clr_train.views.energy import transform_energy
from pilarnet_convert.errors import PilarnetError

__all__ = ["quantise"]


def quantise(batch: AugmentedBatch, *, energy_transform: str) -> SiteBatch:
    """Put voxels on the grid.

    Parameters
    ----------
    batch : AugmentedBatch
        N particles with V voxels.
    energy_transform : str
        One of `clr_train.views.energy.ENERGY_TRANSFORMS`.

    Returns
    -------
    SiteBatch
        The sites nearest to the voxels; the energies of voxels at one site are summed before the
        transform. Voxels that were removed are left out.

    Raises
    ------
    PilarnetError
        When there are too many particles, or a voxel lies too far from the origin.
    """
    num_particles = batch.index.num_particles
    if num_particles > MAX_PARTICLES:
        raise PilarnetError(
            "too many particles at once",
            field="particles",
            expected=f"at most {MAX_PARTICLES}",
            found=num_particles,
            advice="use a smaller batch",
        )
    # Not round(), which takes halves to even: two neighbours at a half would reach one site.
    position = batch.moved().add_(0.5).floor_()
    low, high = position.aminmax()
    keys = pack(batch.index.particle, position.int())
    if batch.alive is not None:
        # Removed voxels get a key above all others: no coordinate has all its bits set.
        keys = torch.where(batch.alive, keys, (num_particles << 3 * AXIS_BITS) - 1)
    keys, order = sort_keys(keys, num_particles=num_particles)
    group = starts_run(keys).cumsum(0).sub_(1)
    num_sites = group[-1] + (1 if batch.alive is None else batch.alive.all())
    # The only values that are read from the GPU.
    count, reach = torch.stack([num_sites, torch.maximum(high, -low).long()]).tolist()
    if reach >= MAX_COORDINATE:
        raise PilarnetError(
            "a voxel lies too far from the origin",
            field="voxels",
            expected=f"coordinates below {MAX_COORDINATE}",
            found=reach,
            advice="use smaller cubes of voxels or smaller translations",
        )
    # The last group is that of removed voxels.
    energy = sum_groups(
        batch.energy.index_select(0, order), group, num_groups=count + 1, is_sorted=True
    )[:count]
    return SiteBatch(
        keys=torch.empty_like(keys).scatter_(0, group, keys)[:count],
        features=transform_energy(energy, name=energy_transform)[:, None],
        num_particles=num_particles,
    )
