"""Panels, frames, relations and thinning."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.pictures import energy_range
from pilarnet_view.scene import Panel, ParticleCloud, Scene, frame
from pilarnet_view.thinning import allot, thin

COUNTS = st.lists(st.integers(0, 3000), min_size=1, max_size=40).map(np.array)


def cloud_of(num_voxels: int, *, seed: int = 0) -> ParticleCloud:
    rng = np.random.default_rng(seed)
    xyz = rng.integers(0, 500, (num_voxels, 3))
    return ParticleCloud.of(xyz, rng.random(num_voxels), name="c", species="muon", number=0)


def scene_of(*sizes: int) -> Scene:
    clouds = tuple(cloud_of(n, seed=n) for n in sizes)
    panel = Panel.around(clouds, grid=np.full(3, 500), origin_cm=np.zeros(3))
    return Scene(
        title="t",
        subtitle="s",
        panels=(panel,),
        columns=1,
        colouring="class",
        voxel_cm=(0.3, 0.3, 0.3),
        notes=("first",),
    )


@given(COUNTS, st.integers(1, 20_000))
def test_voxels_are_shared_out_within_the_budget(counts: np.ndarray, budget: int):
    shown = allot(counts, budget=budget)
    assert shown.sum() == min(budget, counts.sum())
    assert np.all(shown >= 0)
    assert np.all(shown <= counts)


@given(COUNTS, st.integers(800, 20_000))
def test_small_particles_are_not_thinned_away(counts: np.ndarray, budget: int):
    # 40 particles of 10 voxels take no more than half of a budget of 800.
    assert np.all(allot(counts, budget=budget) >= np.minimum(counts, 10))


def test_large_particles_are_thinned_in_proportion():
    shown = allot(np.array([40_010, 20_010, 10]), budget=3030)
    assert shown.tolist() == [2010, 1010, 10]


def test_thinning_keeps_voxels_with_their_energies_and_says_so():
    scene = scene_of(2000, 30)
    thinned = thin(scene, max_voxels=500)
    before, after = scene.clouds[0], thinned.clouds[0]
    energies = {tuple(v): e for v, e in zip(before.xyz.tolist(), before.energy_mev, strict=True)}
    assert sum(len(c.energy_mev) for c in thinned.clouds) == 500
    assert [energies[tuple(v)] for v in after.xyz.tolist()] == after.energy_mev.tolist()
    assert len(np.unique(after.xyz, axis=0)) == len(after.xyz)
    assert thinned.notes[0].startswith("500 of 2,030 voxels are shown")
    assert thinned.notes[1:] == scene.notes
    # What the particle is does not change with what is shown of it.
    assert (after.num_voxels, after.deposit_mev) == (2000, before.deposit_mev)
    again = thin(scene, max_voxels=500).clouds[0]
    assert np.array_equal(again.xyz, after.xyz)


def test_nothing_is_thinned_that_fits():
    scene = scene_of(20, 30)
    thinned = thin(scene, max_voxels=50)
    assert [len(c.energy_mev) for c in thinned.clouds] == [20, 30]
    assert thinned.notes == scene.notes


def test_every_panel_is_thinned_and_the_page_as_a_whole(monkeypatch: pytest.MonkeyPatch):
    panels = tuple(panel for n in (900, 300, 60) for panel in scene_of(n).panels)
    panels = (replace(panels[0], event=panels[1]), *panels[1:])
    scene = replace(scene_of(1), panels=panels)

    def sizes(max_voxels: int) -> list[int]:
        found = thin(scene, max_voxels=max_voxels).panels
        return [len(p.clouds[0].energy_mev) for p in (*found, found[0].event) if p is not None]

    assert sizes(400) == [400, 300, 60, 300]
    monkeypatch.setattr("pilarnet_view.thinning._MOST_VOXELS", 780)  # half of all
    assert sizes(400) == [400, 150, 30, 150]


@given(
    st.lists(st.tuples(*[st.integers(-400, 900)] * 3), min_size=1, max_size=30),
)
def test_a_frame_holds_every_voxel_and_has_room_on_each_axis(xyz: list[tuple[int, int, int]]):
    cloud = ParticleCloud.of(xyz, np.ones(len(xyz)), name="c", species="muon", number=0)
    low, high = frame([cloud])
    assert np.all(low <= cloud.xyz.min(axis=0) - 0.5)
    assert np.all(high >= cloud.xyz.max(axis=0) + 0.5)
    edge = high - low
    assert edge.min() >= 8 - 1e-9
    assert edge.min() >= 0.35 * edge.max() - 1e-9


def test_energies_at_zero_do_not_reach_the_log_scale():
    low, high = energy_range(np.array([0, 0, 0.5, 2]))
    assert 0.5 <= low < high == 2
    assert energy_range(np.array([0.0])) == (0.1, 1.0)


def test_one_energy_alone_still_spans_a_scale():
    low, high = energy_range(np.array([3.0]))
    assert 0 < low < high == pytest.approx(3)


def test_facts_leave_out_what_is_not_known():
    cloud = ParticleCloud.of([[1, 2, 3]], [0.5], name="cluster 4", species="no particle", number=0)
    assert cloud.facts == ("cluster 4: no particle", "1 voxel, 0.5 MeV deposited")
