"""Leaving out voxels of a scene that has too many to be drawn."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_view.scene import ParticleCloud, Scene

__all__ = ["allot", "thin"]

#: Voxels that thinning leaves to a particle if it can; the default --min-voxels of shards.
_LEAST_VOXELS: Final = 10


def allot(counts: NDArray[np.int64], *, budget: int) -> NDArray[np.int64]:
    """Divide a number of voxels that may be shown among clouds with `counts` voxels, int64 [C].

    The sum is the budget, or all voxels where they are fewer. Each cloud gets 10 voxels, or all
    it has, if that takes at most half of the budget; the rest goes in proportion to the counts.
    """
    if counts.sum() <= budget:
        return counts.copy()
    least = np.minimum(counts, _LEAST_VOXELS)
    if 2 * least.sum() > budget:
        least = np.zeros_like(counts)
    rest = counts - least
    shares = rest * ((budget - least.sum()) / rest.sum())
    whole = np.floor(shares).astype(np.int64)
    short = budget - int(least.sum() + whole.sum())
    whole[np.argsort(whole - shares, kind="stable")[:short]] += 1
    shown: NDArray[np.int64] = least + whole
    return shown


def thin(scene: Scene, *, max_voxels: int) -> Scene:
    """Leave out voxels at random until at most `max_voxels` are left, and add a note about it.

    The choice is the same each time. ``num_voxels`` and ``deposit_mev`` stay those of all voxels.
    """
    counts = np.array([len(cloud.energy_mev) for cloud in scene.clouds], np.int64)
    shown = allot(counts, budget=max_voxels)
    if shown.sum() == counts.sum():
        return scene
    numbered = enumerate(zip(scene.clouds, shown, strict=True))
    thinned = iter([_thin(cloud, count, seed=seed) for seed, (cloud, count) in numbered])
    panels = tuple(
        replace(panel, clouds=tuple(islice(thinned, len(panel.clouds)))) for panel in scene.panels
    )
    note = (
        f"{shown.sum():,} of {counts.sum():,} voxels are shown, drawn at random; "
        "voxel counts and energies are those of all (--max-voxels)"
    )
    return replace(scene, panels=panels, notes=(note, *scene.notes))


def _thin(cloud: ParticleCloud, count: int, *, seed: int) -> ParticleCloud:
    order = np.random.default_rng(seed).permutation(len(cloud.energy_mev))
    kept = np.sort(order[:count])
    return replace(cloud, xyz=cloud.xyz[kept], energy_mev=cloud.energy_mev[kept])
