"""The plan of an epoch: what holds for any split, on paper, with nothing read."""

from __future__ import annotations

from itertools import chain, pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_train.stream.config import StreamConfig
from clr_train.stream.layout import Layout
from clr_train.stream.reader import plan_reads
from clr_train.stream.sampling import EpochPlan, balance, fill_batches, keep_within, plan_epoch

seeds = st.integers(0, 2**31 - 1)


def make_layout(sizes: list[int], *, block_particles: int = 16, seed: int = 0) -> Layout:
    generator = np.random.default_rng(seed)
    total = sum(sizes)
    return Layout(
        num_voxels=generator.integers(1, 200, total),
        label=generator.choice(5, total, p=[0.37, 0.19, 0.15, 0.22, 0.07]),
        shard_start=np.cumsum([0, *sizes]),
        block_particles=block_particles,
    )


LAYOUT = make_layout([330, 75, 200, 1, 394])
EVERY = np.arange(1000)


def plan(
    layout: Layout = LAYOUT,
    *,
    epoch: int = 0,
    span_batches: int = 6,
    world_size: int = 1,
    **options: object,
) -> EpochPlan:
    return plan_epoch(
        layout,
        np.arange(len(layout.label)),
        config=StreamConfig(**({"batch_size": 32} | options)),  # type: ignore[arg-type]
        epoch=epoch,
        span_batches=span_batches,
        world_size=world_size,
    )


@given(
    sizes=st.lists(st.integers(1, 120), min_size=1, max_size=5),
    seed=seeds,
    epoch=st.integers(0, 1000),
    part=st.integers(1, 9),
    world_size=st.integers(1, 4),
    span_batches=st.integers(1, 5),
    block_particles=st.integers(1, 50),
)
@settings(max_examples=60)
def test_batches_are_full_alike_on_all_ranks_and_hold_no_particle_twice(
    sizes: list[int],
    seed: int,
    epoch: int,
    part: int,
    world_size: int,
    span_batches: int,
    block_particles: int,
) -> None:
    layout = make_layout(sizes, block_particles=block_particles)
    batch_size = part * world_size
    options = {"seed": seed, "epoch": epoch, "span_batches": span_batches}
    shared = plan(layout, batch_size=batch_size, world_size=world_size, **options)
    assert shared.order.shape == (sum(sizes) // batch_size, world_size, part)
    assert len(np.unique(shared.order)) == shared.order.size
    assert shared.order.size + shared.remainder == sum(sizes)
    alone = plan(layout, batch_size=batch_size, **options)
    assert np.array_equal(shared.order.ravel(), alone.order.ravel())


def test_the_order_depends_on_seed_and_epoch() -> None:
    orders = [plan(seed=s, epoch=e).order.ravel() for s, e in ((0, 0), (0, 1), (1, 0), (0, 0))]
    assert np.array_equal(orders[0], orders[3])
    for other in orders[1:3]:
        # Not the same blocks in the same spans: about one particle in a thousand stands still.
        assert np.mean(orders[0] == other) < 0.02


def test_a_batch_mixes_blocks_of_the_whole_split() -> None:
    # 31 batches in 6 spans, even the shortest of 160 particles from 10 blocks or more.
    assert np.diff(plan().span_start).tolist() == [5, 5, 5, 5, 5, 6]
    for batch in plan().order[:, 0]:
        assert len(np.unique(batch // 16)) >= 7
        assert batch.max() - batch.min() > 400


def test_a_span_reads_few_blocks_and_hardly_any_twice() -> None:
    whole = plan(make_layout([4000, 4000]), span_batches=8)
    blocks = []
    for first, last in whole.spans():
        span = whole.particles(first, last, rank=0)
        blocks.append(np.unique(span // 16))
        # One block more where a span begins or ends inside a block.
        assert len(blocks[-1]) <= len(span) / 16 + 1
    assert len([*chain(*blocks)]) <= 500 + len(blocks) - 1


def test_any_particle_may_come_at_any_time() -> None:
    places = np.array(
        [
            np.argsort(plan(epoch=e, batch_size=1, span_batches=192).order.ravel())
            for e in range(200)
        ]
    )
    # Uniform over 1000 places: mean 499.5 and standard deviation 288.7, over 200 epochs.
    assert np.abs(places.mean(axis=0) - 499.5).max() < 4.5 * 288.7 / np.sqrt(200)


# --- classes


def test_balanced_epochs_hold_classes_alike_and_see_all_in_time() -> None:
    rarest = int(np.bincount(LAYOUT.label).min())
    seen = [balance(EVERY, LAYOUT.label, seed=1, epoch=epoch) for epoch in range(60)]
    for chosen in seen:
        assert np.bincount(LAYOUT.label[chosen]).tolist() == [rarest] * 5
        assert np.all(np.diff(chosen) > 0)
    times = np.bincount(np.concatenate(seen), minlength=1000)
    for c, members in enumerate(np.bincount(LAYOUT.label)):
        expected = 60 * rarest / members
        found = times[LAYOUT.label == c]
        assert found.mean() == pytest.approx(expected)
        assert np.abs(found - expected).max() <= 4.5 * np.sqrt(expected)
    balanced = plan(balanced=True)
    assert balanced.unbalanced == 1000 - 5 * rarest
    assert balanced.order.size + balanced.remainder == 5 * rarest


# --- voxels


@given(seed=seeds, world_size=st.integers(1, 3), part=st.integers(1, 12), share=st.floats(0, 1.2))
@settings(max_examples=60)
def test_a_budget_cuts_the_fewest_largest_and_as_many_on_all_ranks(
    seed: int, world_size: int, part: int, share: float
) -> None:
    size = np.random.default_rng(seed).integers(1, 100, (4, world_size, part))
    budget = int(size.max() + share * size.sum(axis=-1).max())
    keep = keep_within(size, budget=budget)
    for sizes, kept in zip(size, keep, strict=True):
        assert np.all((sizes * kept).sum(axis=1) <= budget)
        assert len(set(kept.sum(axis=1).tolist())) == 1
        num_cut = part - int(kept[0].sum())
        # One fewer would not do on some rank; and what is cut is not smaller than what is kept.
        if num_cut:
            without = [np.sort(row)[: part - num_cut + 1].sum() for row in sizes]
            assert max(without) > budget
        for row, k in zip(sizes, kept, strict=True):
            assert k.any()
            assert num_cut == 0 or row[~k].min() >= row[k].max()


def test_a_plan_counts_what_the_budget_cuts() -> None:
    budget = int(LAYOUT.num_voxels.max() * 7)
    cut = plan(voxel_budget=budget, world_size=2)
    whole = plan(world_size=2)
    assert np.array_equal(cut.order, whole.order)
    for rank in (0, 1):
        for batch, size in enumerate(cut.sizes(0, len(cut.order))):
            seen = cut.particles(batch, batch + 1, rank=rank)
            assert len(seen) == size
            assert LAYOUT.num_voxels[seen].sum() <= budget
    kept = sum(cut.sizes(0, len(cut.order)))
    assert np.count_nonzero(~cut.keep) == 2 * (16 * len(cut.order) - kept) > 0


@given(
    sizes=st.lists(st.integers(1, 50), max_size=60),
    batch_size=st.integers(1, 9),
    budget=st.none() | st.integers(50, 200),
)
def test_batches_in_order_are_as_full_as_may_be(
    sizes: list[int], batch_size: int, budget: int | None
) -> None:
    batches = fill_batches(np.array(sizes, np.int64), batch_size, budget=budget)
    assert sum(batches) == len(sizes)
    start = 0
    for size in batches:
        assert 0 < size <= batch_size
        voxels = sum(sizes[start : start + size])
        more = sizes[start + size : start + size + 1]
        assert budget is None or voxels <= budget
        full = size == batch_size or not more
        assert full or (budget is not None and voxels + more[0] > budget)
        start += size


# --- reads


@given(seed=seeds, count=st.integers(1, 200))
@settings(max_examples=40)
def test_reads_are_whole_blocks_of_one_shard_and_cover_what_is_asked(seed: int, count: int) -> None:
    particles = np.random.default_rng(seed).choice(1000, count, replace=False)
    reads = plan_reads(particles, LAYOUT)
    starts = set(LAYOUT.block_start.tolist())
    covered: list[int] = []
    for shard, first, last in reads:
        assert {first, last} <= starts
        assert LAYOUT.shard_start[shard] <= first < last <= LAYOUT.shard_start[shard + 1]
        blocks = [b for b in starts if first <= b < last]
        ends = sorted(starts - {0})
        for block in blocks:
            end = next(e for e in ends if e > block)
            assert np.any((particles >= block) & (particles < end))
        covered += range(first, last)
    assert covered == sorted(set(covered))
    assert set(particles.tolist()) <= set(covered)
    # Neighbouring blocks of a shard come in one read.
    for (a, _, last), (b, first, _) in pairwise(reads):
        assert a != b or last < first
