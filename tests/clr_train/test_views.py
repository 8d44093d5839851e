"""Views against a slow loop over particles and voxels, and what holds for any batch."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clr_train import keys
from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.site_keys import MAX_COORDINATE, MAX_PARTICLES
from clr_train.views.config import ViewConfig
from clr_train.views.energy import transform_energy
from clr_train.views.make import (
    AUGMENTATIONS,
    as_sites,
    drawn_augmentations,
    make_views,
)
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError
from tests.clr_train.batches import as_batch, make_batch, make_particles
from tests.clr_train.slow_detector import slow_detector

ALL = tuple(AUGMENTATIONS)
# Keys of a view as the module defines them, spelled out for the slow loop.
EFFECTS = 1024


# --- a slow second implementation, in plain Python integers and numpy, from the definitions


def mix(word: int) -> int:
    """SplitMix64's finaliser on unsigned words."""
    word &= 2**64 - 1
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9 & (2**64 - 1)
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB & (2**64 - 1)
    return word ^ (word >> 31)


def fold_in(key: int, value: int) -> int:
    return mix(key + (value + 1) * 0x9E3779B97F4A7C15)


def view_key(seed: int, epoch: int, view: int, particle: int) -> int:
    key = 0
    for part in (seed, epoch, view):
        key = mix(fold_in(key, 0) ^ part)
    return fold_in(key, particle)


def uniform(word: int, field: int = 0) -> float:
    return ((word >> (40 - 24 * field)) & 0xFFFFFF) / 2**24


def normal(word: int, field: int = 0) -> float:
    quantile = (((word >> (48 - 16 * field)) & 0xFFFF) + 0.5) / 2**16
    return float(torch.special.ndtri(torch.tensor(quantile, dtype=torch.float64)))


def rotation(key: int) -> NDArray[np.float64]:
    """Shoemake's uniform quaternion, applied as q v q*."""
    first, second = fold_in(key, 0), fold_in(key, 1)
    u1, u2, u3 = uniform(first), uniform(first, 1), uniform(second)
    x, y = (
        math.sqrt(1 - u1) * math.sin(2 * math.pi * u2),
        math.sqrt(1 - u1) * math.cos(2 * math.pi * u2),
    )
    z, w = math.sqrt(u1) * math.sin(2 * math.pi * u3), math.sqrt(u1) * math.cos(2 * math.pi * u3)
    vector = np.array([x, y, z])
    columns = [
        v + 2 * w * np.cross(vector, v) + 2 * np.cross(vector, np.cross(vector, v))
        for v in np.eye(3)
    ]
    return np.stack(columns, axis=1)


def slow_view(
    xyz: NDArray[np.int32], energy: NDArray[np.float32], key: int, config: ViewConfig
) -> dict[tuple[int, int, int], float]:
    """Augment one particle voxel by voxel; return energies by site."""
    p = config
    words = {n: fold_in(key, AUGMENTATIONS[n].number) for n in config.augmentations}
    signed = {n: w - 2**64 if w >= 2**63 else w for n, w in words.items()}
    chosen = sorted(signed, key=lambda n: signed[n])[: config.num_augmentations]
    keys = {n: fold_in(key, EFFECTS + AUGMENTATIONS[n].number) for n in chosen}
    position = [np.array(v, float) for v in xyz]
    mev = [float(e) for e in energy]
    centroid = np.mean(position, axis=0)
    if "throw" in keys:
        u = [uniform(fold_in(keys["throw"], i)) for i in range(3)]
        field = 0.45 + 0.1 * u[0]
        diffusion, lifetime = 4e-6 + 1e-5 * u[1], 500 + 4500 * u[2]
        thrown = slow_detector(
            [tuple(map(int, v)) for v in xyz],
            mev,
            field=field,
            diffusion=diffusion,
            lifetime=lifetime,
        )
        position, mev = [np.array(v, float) for v in thrown], list(thrown.values())
    alive = [True] * len(mev)
    if "shift-energy-normal" in keys:
        z = normal(fold_in(keys["shift-energy-normal"], 0))
        factor = max(0.0, 1 + p.shift_energy_sigma * z)
        mev = [e * factor for e in mev]
    if "shift-energy" in keys:
        u = uniform(fold_in(keys["shift-energy"], 0))
        mev = [e * (1 - p.shift_energy * u) for e in mev]
    if "scale-energy" in keys:
        mev = [
            e * max(0.0, 1 + p.scale_energy_sigma * normal(fold_in(keys["scale-energy"], i)))
            for i, e in enumerate(mev)
        ]
    if "smear-energy" in keys:
        mev = [
            max(0.0, e + p.smear_energy_mev * normal(fold_in(keys["smear-energy"], i)))
            for i, e in enumerate(mev)
        ]
    if "noise" in keys:
        for v, e in list(slow_noise(position, keys["noise"], p)):
            position.append(v)
            mev.append(e)
            alive.append(True)
    extents = [max(v[a] for v in position) - min(v[a] for v in position) for a in range(3)]
    removed: list[list[bool]] = []
    if "threshold" in keys:
        cut = p.threshold_mev * uniform(fold_in(keys["threshold"], 0))
        removed.append([e < cut for e in mev])
    if "crop" in keys:
        word = fold_in(keys["crop"], 0)
        centre = position[int(uniform(word) * len(position))]
        half = (p.crop_fraction + (1 - p.crop_fraction) * uniform(word, 1)) * max(extents)
        removed.append([bool(max(abs(v - centre)) > half) for v in position])
    if "cutout" in keys:
        word = fold_in(keys["cutout"], 0)
        centre = position[int(uniform(word) * len(position))]
        edge = p.cutout_fraction * uniform(word, 1) * max(extents)
        removed.append([bool(max(abs(v - centre)) < edge / 2) for v in position])
    if "drop" in keys:
        draws = [uniform(fold_in(keys["drop"], i)) for i in range(len(position))]
        removed.append([u < p.drop_probability for u in draws])
    for gone in removed:  # none takes the last voxel
        left = [a and not g for a, g in zip(alive, gone, strict=True)]
        alive = left if any(left) else alive
    if "flip" in keys:
        first, second = fold_in(keys["flip"], 0), fold_in(keys["flip"], 1)
        us = (uniform(first), uniform(first, 1), uniform(second))
        sign = np.array([-1 if u < 0.5 else 1 for u in us])
        position = [sign * (v - centroid) + centroid for v in position]
    if "scale" in keys:
        factor = 1 + p.scale_fraction * (2 * uniform(fold_in(keys["scale"], 0)) - 1)
        position = [factor * (v - centroid) + centroid for v in position]
    if "rotate" in keys:
        turn = rotation(keys["rotate"])
        position = [turn @ (v - centroid) + centroid for v in position]
    if "jitter" in keys:
        for i, v in enumerate(position):
            word = fold_in(keys["jitter"], i)
            position[i] = v + p.jitter_voxels * np.array([normal(word, a) for a in range(3)])
    if "translate" in keys:
        first, second = fold_in(keys["translate"], 0), fold_in(keys["translate"], 1)
        us = (uniform(first), uniform(first, 1), uniform(second))
        move = np.array([math.floor(u * p.translate_voxels * 1024) / 1024 for u in us])
        position = [v + move for v in position]
    sites: dict[tuple[int, int, int], float] = {}
    for v, e, a in zip(position, mev, alive, strict=True):
        if a:
            site = tuple(math.floor(c + 0.5) for c in v)
            sites[site] = sites.get(site, 0.0) + e
    return sites


def slow_noise(
    position: list[NDArray[np.float64]], key: int, p: ViewConfig
) -> Iterator[tuple[NDArray[np.float64], float]]:
    """Draw noise voxels one by one."""
    word = fold_in(key, 0)
    count = int(p.noise_fraction * len(position) * uniform(word) + uniform(word, 1))
    low, high = np.min(position, axis=0) - 5, np.max(position, axis=0) + 5
    for number in range(count):
        own = fold_in(fold_in(key, 1), number)
        first, second, third, fourth = (fold_in(own, i) for i in range(4))
        u = np.array([uniform(first), uniform(first, 1), uniform(second)])
        if uniform(third) < 0.5:
            near = position[int(uniform(second, 1) * len(position))]
            place = near + np.floor(u * 31) - 15
        else:
            place = low + np.floor(u * (high - low + 1))
        yield place, -p.noise_energy_mev * math.log1p(-uniform(fourth))


def sites_of(sites: SiteBatch, number: int) -> dict[tuple[int, int, int], float]:
    rows = sites.particle == number
    pairs = zip(sites.xyz[rows].tolist(), sites.features[rows, 0].tolist(), strict=True)
    return {tuple(site): e for site, e in pairs}


def one(name: str) -> ViewConfig:
    return ViewConfig(augmentations=(name,), num_augmentations=1, energy_transform="none")


CONFIGS = {name: one(name) for name in ALL} | {
    "two of the first four": ViewConfig(energy_transform="none"),
    "three of all": ViewConfig(augmentations=ALL, num_augmentations=3, energy_transform="none"),
    "all": ViewConfig(augmentations=ALL[::-1], num_augmentations=len(ALL), energy_transform="none"),
}


@pytest.mark.parametrize("name", CONFIGS)
def test_views_are_those_of_a_slow_loop(name: str) -> None:
    config = CONFIGS[name]
    particles = make_particles(3, 12, largest=40)
    particle = [7, 0, 123_456_789_012, *range(20, 29)]
    sites = make_views(
        as_batch(particles, particle=particle), seed=5, epoch=2, view=1, config=config
    )
    for number, (xyz, energy) in enumerate(particles):
        expected = slow_view(xyz, energy, view_key(5, 2, 1, particle[number]), config)
        found = sites_of(sites, number)
        assert found.keys() == expected.keys()
        for site, mev in expected.items():
            assert found[site] == pytest.approx(mev, rel=1e-5, abs=1e-6)


def test_rows_are_sorted_and_sites_unique() -> None:
    batch = make_batch(1, 40)
    for sites in (
        as_sites(batch, energy_transform="log"),
        make_views(batch, seed=0, epoch=0, view=0, config=CONFIGS["three of all"]),
    ):
        rows = [
            (b, *site) for b, site in zip(sites.particle.tolist(), sites.xyz.tolist(), strict=True)
        ]
        assert rows == sorted(set(rows))


def test_plain_holds_what_is_stored() -> None:
    particles = make_particles(2, 10)
    sites = as_sites(as_batch(particles), energy_transform="none")
    for number, (xyz, energy) in enumerate(particles):
        stored = zip(map(tuple, xyz.tolist()), energy.tolist(), strict=True)
        assert sites_of(sites, number) == dict(stored)


def test_the_two_views_of_a_pair_differ_and_each_repeats() -> None:
    batch, config = make_batch(4, 20), ViewConfig()
    first, again, second, later = (
        make_views(batch, seed=1, epoch=epoch, view=view, config=config)
        for epoch, view in ((0, 0), (0, 0), (0, 1), (1, 0))
    )
    assert torch.equal(first.xyz, again.xyz)
    assert torch.equal(first.features, again.features)
    assert not torch.equal(first.xyz, second.xyz)
    assert not torch.equal(first.xyz, later.xyz)


@pytest.mark.parametrize("config", [ViewConfig(), CONFIGS["three of all"]])
def test_views_made_at_once_are_those_made_one_by_one(config: ViewConfig) -> None:
    batch = as_batch(make_particles(8, 30), particle=range(5, 35))
    together = make_views(batch, seed=3, epoch=1, view=2, count=3, config=config)
    single = [make_views(batch, seed=3, epoch=1, view=view, config=config) for view in (2, 3, 4)]
    assert together.num_particles == 90
    assert torch.equal(together.xyz, torch.cat([v.xyz for v in single]))
    assert torch.equal(together.features, torch.cat([v.features for v in single]))
    owners = [v.particle + 30 * number for number, v in enumerate(single)]
    assert torch.equal(together.particle, torch.cat(owners))


# --- what holds for any batch

seeds = st.integers(0, 2**31 - 1)


@st.composite
def batches(draw: Callable[..., int]) -> ParticleBatch:
    particles = make_particles(
        draw(seeds), draw(st.integers(1, 12)), largest=draw(st.integers(2, 40))
    )
    first = draw(st.integers(0, 2**40))
    return as_batch(particles, particle=range(first, first + len(particles)))


def totals(sites: SiteBatch) -> torch.Tensor:
    total = torch.zeros(sites.num_particles, dtype=torch.float64)
    return total.index_add_(0, sites.particle, sites.features[:, 0].double())


@given(batch=batches(), seed=seeds, moves=st.sampled_from([1, 2, 3]))
@settings(max_examples=30)
def test_motions_keep_the_energy(batch: ParticleBatch, seed: int, moves: int) -> None:
    config = ViewConfig(
        augmentations=("rotate", "translate", "jitter"),
        num_augmentations=moves,
        energy_transform="none",
    )
    stored = totals(as_sites(batch, energy_transform="none"))
    seen = totals(make_views(batch, seed=seed, epoch=0, view=0, config=config))
    torch.testing.assert_close(seen, stored, rtol=1e-5, atol=1e-6)


@given(batch=batches(), seed=seeds)
@settings(max_examples=30)
def test_no_view_is_empty_however_strong(batch: ParticleBatch, seed: int) -> None:
    config = ViewConfig(
        augmentations=ALL,
        num_augmentations=len(ALL),
        drop_probability=0.999,
        cutout_fraction=0.999,
        smear_energy_mev=100.0,
        threshold_mev=100.0,
        crop_fraction=0.0,
    )
    sites = make_views(batch, seed=seed, epoch=0, view=0, config=config)
    assert torch.unique(sites.particle).numel() == batch.num_particles
    assert bool((sites.features >= 0).all())
    assert bool(sites.features.isfinite().all())


@given(seed=seeds, number=st.integers(0, 39), count=st.integers(1, 40))
@settings(max_examples=25)
def test_a_view_is_the_same_in_any_company(seed: int, number: int, count: int) -> None:
    particles = make_particles(11, 40, largest=200)
    config = ViewConfig(augmentations=ALL, num_augmentations=4)
    alone = make_views(
        as_batch(particles[number : number + 1], particle=[number]),
        seed=seed,
        epoch=3,
        view=0,
        config=config,
    )
    others = [(number + 1 + 7 * k) % 40 for k in range(count - 1)]
    company = make_views(
        as_batch([particles[k] for k in (*others, number)], particle=[*others, number]),
        seed=seed,
        epoch=3,
        view=0,
        config=config,
    )
    rows = company.particle == count - 1
    assert torch.equal(company.xyz[rows], alone.xyz)
    assert torch.equal(company.features[rows], alone.features)


def test_a_view_does_not_depend_on_the_number_of_threads() -> None:
    # Enough voxels that torch shares its loops among threads.
    batch = make_batch(12, 700, largest=400)
    config = ViewConfig(augmentations=ALL, num_augmentations=4)
    threads = torch.get_num_threads()
    try:
        seen = []
        for number in (1, 2):
            torch.set_num_threads(number)
            seen.append(make_views(batch, seed=0, epoch=0, view=0, config=config))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(seen[0].xyz, seen[1].xyz)
    assert torch.equal(seen[0].features, seen[1].features)


def take_the_gpu_s_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute on the CPU what a GPU computes, where the CPU has a faster way of its own."""
    monkeypatch.setattr("clr_train.keys._mix", keys._mix_with_torch)
    monkeypatch.setattr("clr_train.ragged._on_cpu", lambda _values: False)


@pytest.mark.parametrize("name", CONFIGS)
def test_a_gpu_s_way_gives_the_same_bits(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    batch = make_batch(13, 60, largest=200)

    def see() -> tuple[SiteBatch, SiteBatch]:
        return (
            make_views(batch, seed=4, epoch=1, view=0, count=2, config=CONFIGS[name]),
            as_sites(batch, energy_transform="log"),
        )

    here = see()
    take_the_gpu_s_way(monkeypatch)
    for mine, other in zip(here, see(), strict=True):
        assert torch.equal(mine.xyz, other.xyz)
        assert torch.equal(mine.particle, other.particle)
        assert torch.equal(mine.features, other.features)


def test_the_order_in_which_augmentations_are_listed_is_of_no_consequence() -> None:
    batch = make_batch(5, 20)
    seen = [
        make_views(
            batch,
            seed=0,
            epoch=0,
            view=0,
            config=ViewConfig(augmentations=names, num_augmentations=3),
        )
        for names in (ALL, ALL[::-1])
    ]
    assert torch.equal(seen[0].xyz, seen[1].xyz)
    assert torch.equal(seen[0].features, seen[1].features)


def test_translation_alone_moves_a_particle_as_one_body() -> None:
    particles = make_particles(6, 200, cube=768)
    batch = as_batch(particles)
    moved = make_views(batch, seed=0, epoch=0, view=0, config=one("translate"))
    still = as_sites(batch, energy_transform="none")
    shift = moved.xyz - still.xyz
    first = torch.searchsorted(still.particle, torch.arange(200))
    assert torch.equal(shift, shift[first][still.particle])
    assert torch.equal(moved.features, still.features)


# --- what is drawn


def test_drawn_names_what_views_do() -> None:
    config = ViewConfig(augmentations=("identity", "drop", "translate"), num_augmentations=1)
    particles = make_particles(7, 60)
    batch = as_batch([c for c in particles if len(c[1]) > 30])
    names = drawn_augmentations(batch.particle, seed=2, epoch=1, view=0, config=config)
    sites = make_views(batch, seed=2, epoch=1, view=0, config=config)
    still = as_sites(batch, energy_transform="log")
    assert {n for pair in names for n in pair} == set(config.augmentations)
    for number, (name,) in enumerate(names):
        before, after = sites_of(still, number), sites_of(sites, number)
        if name == "identity":
            assert after == before
        elif name == "drop":
            assert after.keys() <= before.keys()
        else:
            assert len(after) == len(before)
            assert after.keys() != before.keys()


def test_each_pair_is_drawn_equally_often_and_none_twice() -> None:
    config = ViewConfig(augmentations=ALL, num_augmentations=2)
    names = drawn_augmentations(torch.arange(18_000), seed=0, epoch=0, view=0, config=config)
    assert all(len(set(pair)) == 2 for pair in names)
    assert all(pair == tuple(sorted(pair, key=ALL.index)) for pair in names)
    pairs, counts = np.unique(np.array(names), axis=0, return_counts=True)
    assert len(pairs) == 120
    # chi-square with 119 degrees of freedom: 183 is passed once in 10,000
    assert ((counts - 150) ** 2 / 150).sum() < 183


def test_with_replacement_each_draw_is_even_and_a_name_may_come_again() -> None:
    names = ("identity", "drop", "rotate")
    config = ViewConfig(augmentations=names, num_augmentations=3, draw="with-replacement")
    drawn = drawn_augmentations(torch.arange(8100), seed=0, epoch=0, view=0, config=config)
    counts = Counter(tuple(sorted(each)) for each in drawn)
    expected = {3: 1 / 27, 2: 3 / 27, 1: 6 / 27}  # by the most that a name is drawn
    assert len(counts) == 10
    chi2 = 0.0
    for each, count in counts.items():
        mean = 8100 * expected[max(Counter(each).values())]
        chi2 += (count - mean) ** 2 / mean
    assert chi2 < 33.7  # 9 degrees of freedom: passed once in 10,000


def test_what_is_drawn_twice_is_applied_twice() -> None:
    batch = make_batch(14, 400, largest=200)
    config = ViewConfig(
        augmentations=("drop",),
        num_augmentations=3,
        draw="with-replacement",
        drop_probability=0.2,
    )
    sites = make_views(batch, seed=0, epoch=0, view=0, config=config)
    assert sites.num_sites / batch.num_voxels == pytest.approx(0.8**3, abs=0.01)


def test_none_is_drawn_if_none_is_asked_for() -> None:
    batch = make_batch(8, 10)
    sites = make_views(batch, seed=0, epoch=0, view=0, config=ViewConfig(num_augmentations=0))
    still = as_sites(batch, energy_transform="log")
    assert torch.equal(sites.xyz, still.xyz)
    assert torch.equal(sites.features, still.features)
    assert drawn_augmentations(
        torch.arange(3), seed=0, epoch=0, view=0, config=ViewConfig(num_augmentations=0)
    ) == [(), (), ()]


# --- energies


def test_the_log_tells_a_bragg_peak_from_a_track_and_sqrt_clip_does_not() -> None:
    mev = torch.tensor([0.0, 0.63, 2.0, 10.0])
    log = transform_energy(mev, name="log")
    assert log[0] == 0
    assert float(log[1]) == pytest.approx(1.0)
    assert float(log[3]) == pytest.approx(math.log(101) / math.log(7.3))
    assert transform_energy(mev, name="sqrt-clip").tolist() == pytest.approx(
        [0, math.sqrt(0.63), 1, 1]
    )
    assert transform_energy(mev, name="none").tolist() == mev.tolist()
    with pytest.raises(ValueError, match=r"expected one of .*, found cube"):
        transform_energy(mev, name="cube")


# --- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"augmentations": ("rotate", "shear")}, "shear"),
        ({"augmentations": ("rotate", "rotate")}, "twice"),
        ({"num_augmentations": 5}, "--num-augmentations"),
        ({"augmentations": (), "num_augmentations": 1}, "no augmentation"),
        ({"draw": "twice"}, "with-replacement"),
        ({"drift_axis": "t"}, "x, y, z"),
        ({"drop_probability": 1.0}, "--drop-probability.*expected below 1"),
        ({"cutout_fraction": 1.0}, "--cutout-fraction.*expected below 1"),
        ({"jitter_voxels": -1.0}, "--jitter-voxels.*expected at least 0"),
        ({"jitter_voxels": math.nan}, "--jitter-voxels"),
        ({"num_augmentations": -1}, "--num-augmentations"),
        ({"energy_transform": "cube"}, "log, sqrt-clip, none"),
    ],
)
def test_a_wrong_option_is_refused(options: dict[str, object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        ViewConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("coordinate", [MAX_COORDINATE, 2**21])
@pytest.mark.parametrize("on_gpu", [True, False])
def test_a_far_voxel_is_refused(
    on_gpu: bool, coordinate: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if on_gpu:
        take_the_gpu_s_way(monkeypatch)
    far, near = (
        as_batch([(np.array([[0, 0, z]], np.int32), np.ones(1, np.float32))] * 2)
        for z in (coordinate, MAX_COORDINATE - 1)
    )
    with pytest.raises(PilarnetError, match=f"below {MAX_COORDINATE}, found {coordinate}"):
        as_sites(far, energy_transform="none")
    assert as_sites(near, energy_transform="none").xyz[:, 2].tolist() == [MAX_COORDINATE - 1] * 2


def test_too_many_particles_are_refused() -> None:
    batch = make_batch(0, 1).take(torch.zeros(MAX_PARTICLES + 1, dtype=torch.int64))
    assert as_sites(next(batch.split(5)), energy_transform="none").num_particles == 5
    with pytest.raises(PilarnetError, match=f"at most {MAX_PARTICLES}, found {MAX_PARTICLES + 1}"):
        as_sites(batch, energy_transform="none")
