"""Leaving out voxels of a scene that has too many to be drawn."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_view.scene import Panel, ParticleCloud, Scene

__all__ = ["allot", "thin"]

#: Voxels that thinning leaves to a particle if it can; the default --min-voxels of shards.
_LEAST_VOXELS: Final = 10
#: Voxels of a page, some 40 MB, so that it opens in any browser.
_MOST_VOXELS: Final = 2_000_000


def allot(counts: NDArray[np.int64], *, budget: int) -> NDArray[np.int64]:
    """Divide a number of voxels that may be shown among C clouds.

    All of it is used, unless there are fewer voxels. Each cloud gets 10 voxels, or all it has, if
    that takes at most half of the budget; the rest goes in proportion to the counts.

    Parameters
    ----------
    counts : int64 array [C]
        The voxels of each cloud.
    budget : int
        How many voxels may be shown.

    Returns
    -------
    int64 array [C]
        The voxels of each cloud to show.
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
    """Leave out voxels at random until no panel has more than `max_voxels`, and say so in a note.

    All panels together keep at most two million. The choice is the same each time.
    ``num_voxels`` and ``deposit_mev`` stay those of all voxels.
    """
    every = [p for panel in scene.panels for p in (panel, panel.event) if p is not None]
    share = min(1.0, _MOST_VOXELS / max(sum(map(_num_voxels, every)), 1))
    panels = tuple(_thin_panel(p, max_voxels=max_voxels, share=share) for p in scene.panels)
    left, total = (sum(map(_num_voxels, shown)) for shown in (panels, scene.panels))
    scene = replace(scene, panels=panels)
    if left == total:
        return scene
    note = (
        f"{left:,} of {total:,} voxels are shown, drawn at random; "
        "voxel counts and energies are those of all (--max-voxels)"
    )
    return replace(scene, notes=(note, *scene.notes))


def _num_voxels(panel: Panel) -> int:
    return sum(len(cloud.energy_mev) for cloud in panel.clouds)


def _thin_panel(panel: Panel, *, max_voxels: int, share: float) -> Panel:
    """Thin a panel and its event, each to a share of its voxels and to at most `max_voxels`."""
    event = panel.event and _thin_panel(panel.event, max_voxels=max_voxels, share=share)
    counts = np.array([len(cloud.energy_mev) for cloud in panel.clouds], np.int64)
    shown = allot(counts, budget=min(max_voxels, int(share * counts.sum())))
    clouds = tuple(
        _thin(cloud, count, seed=seed)
        for seed, (cloud, count) in enumerate(zip(panel.clouds, shown, strict=True))
    )
    return replace(panel, clouds=clouds, event=event)


def _thin(cloud: ParticleCloud, count: int, *, seed: int) -> ParticleCloud:
    if count == len(cloud.energy_mev):
        return cloud
    order = np.random.default_rng(seed).permutation(len(cloud.energy_mev))
    kept = np.sort(order[:count])
    return replace(cloud, xyz=cloud.xyz[kept], energy_mev=cloud.energy_mev[kept])
