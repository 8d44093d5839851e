"""Both engines against dense convolutions, and what must hold for all clouds."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_train.batch import VoxelBatch
from clr_train.sparse import Engine, TorchEngine, get_engine
from clr_train.sparse.kernel_map import MAX_COORDINATE
from pilarnet_convert.errors import MissingDependencyError, PilarnetError
from tests.clr_train.sparse_reference import (
    assert_close,
    lexicographic,
    make_weights,
    permuted,
    random_clouds,
    run_dense,
    run_sparse,
)


@pytest.fixture(params=["torch", pytest.param("minkowski", marks=pytest.mark.minkowski)])
def engine(request: pytest.FixtureRequest) -> Engine:
    return get_engine(request.param)


@pytest.mark.parametrize("seed", range(3))
def test_outputs_and_gradients_are_those_of_dense_convolutions(engine: Engine, seed: int) -> None:
    voxels, weights = random_clouds(seed), make_weights(seed)
    assert_close(run_sparse(engine, voxels, weights), run_dense(voxels, weights))


@pytest.mark.minkowski
@pytest.mark.parametrize("seed", range(3))
def test_the_engines_agree(seed: int) -> None:
    voxels = random_clouds(seed, num_particles=40, num_voxels=4000, reach=30)
    weights = make_weights(seed)
    found = run_sparse(get_engine("torch"), voxels, weights)
    assert_close(found, run_sparse(get_engine("minkowski"), voxels, weights))


@settings(max_examples=25, deadline=None)
@given(
    sites=st.sets(
        st.tuples(st.integers(0, 3), *(st.integers(-8, 7),) * 3), min_size=1, max_size=40
    ),
    seed=st.integers(0, 2**31),
)
def test_any_cloud_is_convolved_as_densely(sites: set[tuple[int, ...]], seed: int) -> None:
    rows = torch.tensor(list(sites))
    generator = torch.Generator().manual_seed(seed)
    voxels = VoxelBatch(
        xyz=rows[:, 1:].to(torch.int32),
        batch=rows[:, 0].contiguous(),
        features=torch.randn(len(rows), 3, generator=generator),
        num_particles=4,
    )
    weights = make_weights(seed)
    assert_close(run_sparse(TorchEngine(), voxels, weights), run_dense(voxels, weights, half=8))


def test_the_order_of_rows_changes_no_bit() -> None:
    voxels, weights = random_clouds(5), make_weights(5)
    order = torch.randperm(voxels.num_voxels, generator=torch.Generator().manual_seed(1))
    first = run_sparse(TorchEngine(), voxels, weights)
    second = run_sparse(TorchEngine(), permuted(voxels, order), weights)
    first[3] = first[3][order]  # the gradient of the features, in the order of the input
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_repeated_run_gives_the_same_bits() -> None:
    voxels, weights = random_clouds(6, num_voxels=3000), make_weights(6)
    first, second = (run_sparse(TorchEngine(), voxels, weights) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_shifted_particle_pools_to_the_same(engine: Engine) -> None:
    voxels, weights = random_clouds(7), make_weights(7)
    # 8 voxels are the network's last stride; each particle moves by its own, negative ones too.
    shift = 8 * (voxels.batch[:, None] * torch.tensor([1, -2, 3])).to(torch.int32)
    moved = VoxelBatch(
        xyz=voxels.xyz + shift,
        batch=voxels.batch,
        features=voxels.features,
        num_particles=voxels.num_particles,
    )
    first, second = (run_sparse(engine, v, weights) for v in (voxels, moved))
    assert_close(first[1:], second[1:])


def test_coordinates_count_in_strides(engine: Engine) -> None:
    voxels = random_clouds(8)
    x = engine.tensor(voxels).strided_conv(make_weights(8)[0], None, kernel_size=4)
    assert x.stride == 4
    fine = torch.cat([voxels.batch[:, None], voxels.xyz], dim=1).double()
    expected = torch.cat([fine[:, :1], (fine[:, 1:] / 4).floor()], dim=1).unique(dim=0)
    coords = x.coords[lexicographic(x.coords)]
    assert coords.dtype == torch.int32
    assert torch.equal(coords.double(), expected)
    assert torch.equal(x.batch, x.coords[:, 0].long())


def test_a_batch_without_voxels_pools_to_zeros() -> None:
    empty = VoxelBatch(
        xyz=torch.zeros(0, 3, dtype=torch.int32),
        batch=torch.zeros(0, dtype=torch.int64),
        features=torch.zeros(0, 3),
        num_particles=2,
    )
    _, pooled, averaged, *gradients = run_sparse(TorchEngine(), empty, make_weights(0))
    assert torch.equal(pooled, torch.zeros(2, 6))
    assert torch.equal(averaged, torch.zeros(2, 6))
    assert all(not gradient.any() for gradient in gradients)


def test_a_site_twice_is_refused(engine: Engine) -> None:
    voxels = random_clouds(9)
    twice = permuted(voxels, torch.tensor([0, 1, 2, 1]))
    with pytest.raises(ValueError, match="distinct sites"):
        engine.tensor(twice)


def test_a_far_coordinate_is_refused() -> None:
    voxels = VoxelBatch(
        xyz=torch.tensor([[0, MAX_COORDINATE, 0]], dtype=torch.int32),
        batch=torch.zeros(1, dtype=torch.int64),
        features=torch.zeros(1, 1),
        num_particles=1,
    )
    with pytest.raises(ValueError, match=f"xyz: expected .* found 0 to {MAX_COORDINATE}"):
        TorchEngine().tensor(voxels)


@pytest.mark.parametrize("kernel_size", [2, 33])
def test_an_even_or_huge_depthwise_kernel_is_refused(kernel_size: int) -> None:
    x = TorchEngine().tensor(random_clouds(0))
    with pytest.raises(ValueError, match="kernel_size"):
        x.depthwise_conv(torch.zeros(kernel_size**3, 3), None, kernel_size=kernel_size)


def test_an_unknown_engine_is_named() -> None:
    with pytest.raises(PilarnetError, match=r"engine.*expected auto, minkowski, torch.*found me"):
        get_engine("me")


def test_minkowski_that_does_not_import_is_said_in_one_line(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from clr_train.sparse import minkowski_engine

    monkeypatch.setitem(sys.modules, "MinkowskiEngine", None)
    minkowski_engine._library.cache_clear()
    with pytest.raises(MissingDependencyError, match="make minkowski"):
        get_engine("minkowski")
    minkowski_engine._library.cache_clear()


def test_auto_takes_the_torch_engine_on_the_cpu() -> None:
    assert get_engine("auto", "cpu").name == "torch"
