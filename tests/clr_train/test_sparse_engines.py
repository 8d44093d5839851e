"""Both engines against dense convolutions, and what must hold for all sites."""

from __future__ import annotations

import sys

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_train.batch import SiteBatch
from clr_train.sparse import Engine, TorchEngine, get_engine
from pilarnet_convert.errors import MissingDependencyError, PilarnetError
from tests.clr_train.sparse_reference import (
    Dense,
    assert_close,
    lexicographic,
    make_sites,
    make_weights,
    random_sites,
    run_dense,
    run_sparse,
)


@pytest.fixture(params=["torch", pytest.param("minkowski", marks=pytest.mark.minkowski)])
def engine(request: pytest.FixtureRequest) -> Engine:
    return get_engine(request.param)


@pytest.mark.parametrize("seed", range(3))
def test_outputs_and_gradients_are_those_of_dense_convolutions(engine: Engine, seed: int) -> None:
    sites, weights = random_sites(seed), make_weights(seed)
    assert_close(run_sparse(engine, sites, weights), run_dense(sites, weights))


@pytest.mark.minkowski
@pytest.mark.parametrize("seed", range(3))
def test_the_engines_agree(seed: int) -> None:
    sites = random_sites(seed, num_particles=40, num_sites=4000, reach=30)
    weights = make_weights(seed)
    found = run_sparse(get_engine("torch"), sites, weights)
    assert_close(found, run_sparse(get_engine("minkowski"), sites, weights))


@settings(max_examples=25)
@given(
    chosen=st.sets(
        st.tuples(st.integers(0, 3), *(st.integers(-8, 7),) * 3), min_size=1, max_size=40
    ),
    seed=st.integers(0, 2**31),
)
def test_any_sites_are_convolved_as_densely(chosen: set[tuple[int, ...]], seed: int) -> None:
    rows = torch.tensor(list(chosen))
    generator = torch.Generator().manual_seed(seed)
    sites = make_sites(
        rows[:, 0],
        rows[:, 1:],
        features=torch.randn(len(rows), 3, generator=generator),
        num_particles=4,
    )
    weights = make_weights(seed)
    assert_close(run_sparse(TorchEngine(), sites, weights), run_dense(sites, weights, half=8))


def test_a_repeated_run_gives_the_same_bits() -> None:
    sites, weights = random_sites(6, num_sites=3000), make_weights(6)
    first, second = (run_sparse(TorchEngine(), sites, weights) for _ in range(2))
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


def test_a_shifted_particle_pools_to_the_same(engine: Engine) -> None:
    sites, weights = random_sites(7), make_weights(7)
    # 8 sites are the network's last stride; each particle moves by its own, negative ones too.
    shift = 8 * (sites.particle[:, None] * torch.tensor([1, -2, 3])).to(torch.int32)
    moved = make_sites(
        sites.particle,
        sites.xyz + shift,
        features=sites.features,
        num_particles=sites.num_particles,
    )
    first, second = (run_sparse(engine, s, weights) for s in (sites, moved))
    assert_close(first[1:], second[1:])


def test_coordinates_count_in_strides(engine: Engine) -> None:
    sites = random_sites(8)
    x = engine.tensor(sites).strided_conv(make_weights(8)[0], None, kernel_size=4)
    assert x.stride == 4
    fine = torch.cat([sites.particle[:, None], sites.xyz], dim=1).double()
    expected = torch.cat([fine[:, :1], (fine[:, 1:] / 4).floor()], dim=1).unique(dim=0)
    coords = x.coords[lexicographic(x.coords)]
    assert coords.dtype == torch.int32
    assert torch.equal(coords.double(), expected)
    assert torch.equal(x.index.particle, x.coords[:, 0].long())


@pytest.mark.parametrize("kernel_size", [1, 2, 3, 4, 5])
def test_a_strided_convolution_of_any_size_is_dense(engine: Engine, kernel_size: int) -> None:
    sites = random_sites(9)
    generator = torch.Generator().manual_seed(9)
    weight = torch.randn(kernel_size**3, 3, 4, generator=generator, requires_grad=True)
    bias = torch.randn(4, generator=generator)
    x = engine.tensor(sites).strided_conv(weight, bias, kernel_size=kernel_size)
    dense = Dense.of(sites, sites.features, half=9)
    expected = dense.strided_conv(weight, bias, kernel_size=kernel_size).at(x.coords)
    upper = torch.randn(expected.shape, generator=generator)
    gradients = (torch.autograd.grad(out, weight, upper)[0] for out in (x.features, expected))
    assert x.stride == kernel_size
    assert_close([x.features.detach(), next(gradients)], [expected.detach(), next(gradients)])


def test_a_batch_without_sites_pools_to_zeros() -> None:
    empty = SiteBatch(
        keys=torch.zeros(0, dtype=torch.int64), features=torch.zeros(0, 3), num_particles=2
    )
    _, pooled, averaged, *gradients = run_sparse(TorchEngine(), empty, make_weights(0))
    assert torch.equal(pooled, torch.zeros(2, 6))
    assert torch.equal(averaged, torch.zeros(2, 6))
    assert all(not gradient.any() for gradient in gradients)


@pytest.mark.parametrize("kernel_size", [2, 33])
def test_an_even_or_huge_depthwise_kernel_is_refused(kernel_size: int) -> None:
    x = TorchEngine().tensor(random_sites(0))
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
