"""The network: its size, its normalisation, and what it must not depend on."""

from __future__ import annotations

import dataclasses
import itertools
import math

import pytest
import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.network.box_counting import soft_sizes
from clr_train.network.encoder import ContrastiveModel, SparseConvNeXt
from clr_train.network.models import MODELS, EncoderConfig
from clr_train.network.response_norm import GlobalResponseNorm
from clr_train.sparse import TorchEngine, get_engine
from pilarnet_convert.errors import PilarnetError
from tests.clr_train.sparse_reference import assert_close, make_sites, random_sites

ENGINE = TorchEngine()
LITTLE = EncoderConfig(name="little", dims=(4, 8), depths=(1, 1), kernel_size=3)


def positive(sites: SiteBatch) -> SiteBatch:
    """The same sites with energies of 0 or more."""
    return dataclasses.replace(sites, features=sites.features.abs())


def sample(seed: int = 0, *, num_particles: int = 6) -> SiteBatch:
    return random_sites(seed, channels=1, num_particles=num_particles)


def make(config: EncoderConfig = LITTLE, **changes: object) -> SparseConvNeXt:
    """A network whose normalisations do something, as they do not in a fresh one."""
    torch.manual_seed(0)
    network = SparseConvNeXt(dataclasses.replace(config, **changes))
    for module in network.modules():
        if isinstance(module, GlobalResponseNorm):
            torch.nn.init.normal_(module.gamma)
    return network


def count_parameters(config: EncoderConfig) -> int:
    with torch.device("meta"):
        return sum(p.numel() for p in SparseConvNeXt(config).parameters())


def only(sites: SiteBatch, particle: int) -> SiteBatch:
    rows = sites.particle == particle
    return make_sites(
        torch.zeros_like(sites.particle[rows]),
        sites.xyz[rows],
        features=sites.features[rows],
        num_particles=1,
    )


def test_the_small_model_has_the_published_shape() -> None:
    config = MODELS["small"]
    assert (config.stem, config.dims, config.depths) == (4, (96, 192, 384, 768), (3, 3, 9, 3))
    count = count_parameters(config)
    dims, blocks = config.dims, 0
    for channels, depth in zip(dims, config.depths, strict=True):
        wide = 4 * channels
        pointwise = 2 * channels * wide + wide + channels
        blocks += depth * (344 * channels + 2 * channels + pointwise + 2 * wide)
    down = sum(8 * a * b + b + 2 * a for a, b in itertools.pairwise(dims))
    stem = 64 * 2 * dims[0] + dims[0] + 2 * dims[0]
    assert count == blocks + down + stem + 2 * dims[-1]
    assert round(count / 1e6) == 31


def test_sizes_descend() -> None:
    counts = [count_parameters(config) for config in MODELS.values()]
    assert counts == sorted(counts, reverse=True)
    assert counts[-1] < 1e6


def slow_response_norm(x: Tensor, gamma: Tensor, beta: Tensor) -> Tensor:
    """ConvNeXt V2, algorithm 1, for the sites of one sample [M, C]."""
    norm = x.norm(p=2, dim=0)
    response = norm / (norm.mean() + 1e-6)
    return gamma * (x * response) + beta + x


@pytest.mark.parametrize("piece_elements", [8, 400, 10**6])
def test_response_norm_is_the_papers_for_each_particle(
    monkeypatch: pytest.MonkeyPatch, piece_elements: int
) -> None:
    monkeypatch.setattr("clr_train.network.response_norm._PIECE_ELEMENTS", piece_elements)
    tensor = ENGINE.tensor(sample())
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(len(tensor.features), 8, generator=generator, requires_grad=True)
    upper = torch.randn(len(tensor.features), 8, generator=generator)
    module = GlobalResponseNorm(8, over="particle")
    torch.nn.init.normal_(module.gamma, generator=generator)
    torch.nn.init.normal_(module.beta, generator=generator)
    leaves = [x, module.gamma, module.beta]
    found = module(x, of=tensor)
    expected = torch.zeros_like(found)
    for particle in range(tensor.index.num_particles):
        rows = (tensor.index.particle == particle).nonzero().squeeze(1)
        part = slow_response_norm(x[rows], module.gamma, module.beta)
        expected = expected.index_copy(0, rows, part)
    assert_close(
        [found, *torch.autograd.grad(found, leaves, upper)],
        [expected, *torch.autograd.grad(expected, leaves, upper)],
    )


def test_response_norm_over_the_batch_is_the_published_form() -> None:
    tensor = ENGINE.tensor(sample())
    x = torch.randn(len(tensor.features), 8, generator=torch.Generator().manual_seed(1))
    module = GlobalResponseNorm(8, over="batch")
    torch.nn.init.normal_(module.gamma)
    expected = slow_response_norm(x, module.gamma, module.beta)
    assert_close([module(x, of=tensor)], [expected])


@pytest.mark.parametrize("neck", [0, 5])
@pytest.mark.parametrize(
    ("pooling", "length"),
    [("max", 8), ("mean", 8), ("max+mean", 16), ("max+mean+size", 23), ("robust", 144)],
)
def test_a_particle_does_not_see_the_others(pooling: str, length: int, neck: int) -> None:
    network, sites = make(pooling=pooling, neck=neck), sample()
    together = network(sites, ENGINE)
    assert together.shape == (sites.num_particles, neck or length)
    assert network.out_features == (neck or length)
    alone = [network(only(sites, i), ENGINE) for i in range(sites.num_particles)]
    torch.testing.assert_close(together, torch.cat(alone), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stem", [1, 2, 3, 4])
def test_sizes_are_the_numbers_of_cubes_that_a_particle_touches(stem: int) -> None:
    network, sites = make(pooling="max+mean+size", stem=stem), sample()
    sizes = network(sites, ENGINE)[:, -7:].detach()
    edges = (1, 2, 4, 8, 16, 32, 64)
    for particle in range(sites.num_particles):
        xyz = sites.xyz[sites.particle == particle]
        cubes = [len({tuple(v) for v in (xyz // edge).tolist()}) for edge in edges]
        expected = [math.log(max(n, 1) / max(50 / e, 1)) for e, n in zip(edges, cubes, strict=True)]
        torch.testing.assert_close(sizes[particle], torch.tensor(expected))


def test_robust_sizes_count_cubes_by_the_energy_that_they_hold() -> None:
    sites = positive(sample())
    sizes = soft_sizes(sites)
    for particle in range(sites.num_particles):
        rows = sites.particle == particle
        xyz, energy = sites.xyz[rows], sites.features[rows, 0].tolist()
        expected = []
        for edge in (1, 2, 4, 8, 16, 32, 64):
            held: dict[tuple[int, ...], float] = {}
            for cube, e in zip(map(tuple, (xyz // edge).tolist()), energy, strict=True):
                held[cube] = held.get(cube, 0.0) + e
            count = sum(e * e / (e * e + 1) for e in held.values())
            expected.append(math.log((count + 0.1) / max(25 / edge, 1)))
        torch.testing.assert_close(sizes[particle], torch.tensor(expected))


def test_robust_pooling_hardly_sees_a_faint_voxel_far_away() -> None:
    # A straight track with a dense end, and the same with a voxel of very little energy.
    track = torch.tensor([[i, 0, 0] for i in range(40)], dtype=torch.int32)
    far = torch.cat([track, torch.tensor([[20, 60, 60]], dtype=torch.int32)])
    energy = torch.cat([torch.linspace(1, 2, 40), torch.tensor([0.1])])
    moved = {}
    for pooling in ("max+mean+size", "robust"):
        network = make(pooling=pooling)
        first, second = (
            network(
                make_sites(
                    torch.zeros(len(xyz), dtype=torch.int64),
                    xyz,
                    features=energy[: len(xyz), None],
                    num_particles=1,
                ),
                ENGINE,
            )
            for xyz in (track, far)
        )
        moved[pooling] = float((first - second).detach().norm() / first.detach().norm())
    assert moved["robust"] < 0.1 * moved["max+mean+size"]


def test_the_neck_is_the_heads_first_layer_kept() -> None:
    """With a neck, representation and projection are what the head's layers would have made."""
    torch.manual_seed(0)
    plain, necked = (ContrastiveModel(dataclasses.replace(LITTLE, neck=n)) for n in (0, 8))
    linear, last = necked.encoder.neck, necked.head.layers[0]
    assert isinstance(linear, torch.nn.Linear)
    necked.encoder.load_state_dict(plain.encoder.state_dict(), strict=False)
    plain.head.layers[0].load_state_dict(linear.state_dict())
    plain.head.layers[2].load_state_dict(last.state_dict())
    pooled, expected = plain(sample(), ENGINE)
    representation, found = necked(sample(), ENGINE)
    torch.testing.assert_close(found, expected)
    torch.testing.assert_close(representation, plain.head.layers[:2](pooled))


def test_the_published_normalisation_lets_it_see_them() -> None:
    network, sites = make(grn="batch"), sample()
    difference = network(sites, ENGINE)[:1] - network(only(sites, 0), ENGINE)
    assert float(difference.detach().abs().max()) > 1e-3


@pytest.mark.parametrize("name", ["atto", "pico"])
def test_lone_and_missing_sites_give_finite_gradients(name: str) -> None:
    torch.manual_seed(0)
    model = ContrastiveModel(dataclasses.replace(MODELS[name], drop_path=0.0))
    representation, projection = model(sample(), ENGINE)
    projection.square().sum().backward()
    assert representation.isfinite().all()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in model.parameters())


def test_a_lone_site_keeps_its_energy() -> None:
    sites = make_sites(
        torch.arange(2),
        torch.zeros(2, 3, dtype=torch.int32),
        features=torch.tensor([[0.2], [2.0]]),
        num_particles=2,
    )
    faint, bright = make()(sites, ENGINE)
    assert float((faint - bright).detach().abs().max()) > 1e-2
    faint, bright = make(occupancy=False)(sites, ENGINE)
    torch.testing.assert_close(faint, bright, rtol=1e-2, atol=1e-2)


def test_dropped_paths_depend_on_the_particles_keys_alone() -> None:
    network, sites = make(drop_path=0.5, depths=(2, 3)), sample()
    keys = torch.arange(sites.num_particles) * 7919
    whole = network(sites, ENGINE, keys)
    alone = [network(only(sites, i), ENGINE, keys[i : i + 1]) for i in range(sites.num_particles)]
    torch.testing.assert_close(whole, torch.cat(alone), rtol=1e-4, atol=1e-5)
    assert not torch.equal(whole, network(sites, ENGINE, keys + 1))
    network.eval()
    assert torch.equal(network(sites, ENGINE), network(sites, ENGINE, keys))


def test_dropped_paths_need_keys() -> None:
    with pytest.raises(ValueError, match="keys"):
        make(drop_path=0.5)(sample(), ENGINE)


def test_a_kept_path_is_scaled_by_what_was_dropped() -> None:
    network, sites = make(drop_path=0.4, depths=(1, 1)), sample(num_particles=40)
    block = network.stages[1][0]
    tensor = ENGINE.tensor(dataclasses.replace(sites, features=sites.features.repeat(1, 8)))
    first, second = network._path_scales(torch.arange(40))
    assert torch.equal(first, torch.ones(40))  # the rate rises from 0
    assert set(second.tolist()) == {0.0, float(torch.tensor(1 / 0.6))}
    whole, dropped = (block(tensor, scale=s).features - tensor.features for s in (None, second))
    expected = whole * second[tensor.index.particle][:, None]
    torch.testing.assert_close(dropped, expected, rtol=1e-3, atol=1e-6)


@pytest.mark.minkowski
def test_a_state_moves_between_the_engines() -> None:
    network = make(kernel_size=7, pooling="max+mean+size", neck=12)
    sites = sample(num_particles=30)
    pull = torch.randn(30, network.out_features, generator=torch.Generator().manual_seed(2))
    results = []
    for engine in (get_engine("torch"), get_engine("minkowski")):
        network.zero_grad()
        out = network(sites, engine)
        (out * pull).sum().backward()
        results.append([out.detach(), *(p.grad.clone() for p in network.parameters())])
    assert_close(*results, tolerance=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"depths": (1,)}, "depths"),
        ({"grn": "event"}, "grn.*expected particle or batch, found event"),
        ({"pooling": "sum"}, "pooling.*found sum"),
        ({"neck": -1}, "neck.*expected 0 or more, found -1"),
        ({"drop_path": 1.0}, "drop_path"),
        ({"kernel_size": 4}, "kernel_size"),
    ],
)
def test_a_shape_that_cannot_be_is_refused(change: dict[str, object], message: str) -> None:
    with pytest.raises(PilarnetError, match=message):
        dataclasses.replace(LITTLE, **change)
