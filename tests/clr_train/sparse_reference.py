"""What the engines are compared with: dense convolutions of torch, and random sites."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.site_keys import pack
from clr_train.sparse import Engine

#: A gradient of a float32 sum agrees to this, relative to its largest element.
TOLERANCE = 1e-5


def make_sites(particle: Tensor, xyz: Tensor, *, features: Tensor, num_particles: int) -> SiteBatch:
    """Sort distinct sites that are given by their coordinates [M, 3]."""
    keys, order = pack(particle, xyz.long().unbind(1)).sort()
    return SiteBatch(keys=keys, features=features[order], num_particles=num_particles)


def random_sites(
    seed: int, *, num_particles: int = 6, num_sites: int = 300, reach: int = 9, channels: int = 3
) -> SiteBatch:
    """Make particles of distinct sites: the last is empty, the one before has a single site.

    Coordinates lie in [-reach, reach), so particles share many of them.
    """
    generator = torch.Generator().manual_seed(seed)
    full = num_particles - 2
    particle = torch.randint(0, full, (num_sites, 1), generator=generator)
    xyz = torch.randint(-reach, reach, (num_sites, 3), generator=generator)
    lone = torch.tensor([[full, -reach, 0, reach - 1]])
    sites = torch.cat([torch.cat([particle, xyz], dim=1), lone]).unique(dim=0)
    sites = sites[torch.randperm(len(sites), generator=generator)]
    return make_sites(
        sites[:, 0],
        sites[:, 1:],
        features=torch.randn(len(sites), channels, generator=generator),
        num_particles=num_particles,
    )


class Dense:
    """Features on a grid [N, C, X, Y, Z] with the origin at its middle, zero where no site is."""

    def __init__(self, grid: Tensor, occupied: Tensor) -> None:
        self.grid, self.occupied = grid, occupied

    @classmethod
    def of(cls, sites: SiteBatch, features: Tensor, *, half: int) -> Dense:
        shape = (sites.num_particles, 2 * half, 2 * half, 2 * half)
        place = (sites.particle, *(sites.xyz.long() + half).unbind(1))
        grid = torch.zeros(*shape, features.shape[1]).index_put(place, features)
        occupied = torch.zeros(shape).index_put(place, torch.ones(len(features)))
        return cls(grid.movedim(-1, 1), occupied[:, None])

    def strided_conv(self, weight: Tensor, bias: Tensor | None, *, kernel_size: int) -> Dense:
        # The grid's middle must fall between two cubes, as the origin does.
        half = self.grid.shape[-1] // 2
        pad = (-half) % kernel_size
        grid, occupied = F.pad(self.grid, (pad,) * 6), F.pad(self.occupied, (pad,) * 6)
        kernel = weight.view(*(kernel_size,) * 3, *weight.shape[1:]).permute(4, 3, 0, 1, 2)
        kept = F.max_pool3d(occupied, kernel_size)
        return Dense(F.conv3d(grid, kernel, bias, stride=kernel_size) * kept, kept)

    def depthwise_conv(self, weight: Tensor, bias: Tensor | None, *, kernel_size: int) -> Dense:
        kernel = weight.view(*(kernel_size,) * 3, -1).permute(3, 0, 1, 2)[:, None]
        grid = F.conv3d(
            self.grid, kernel, bias, padding=kernel_size // 2, groups=self.grid.shape[1]
        )
        return Dense(grid * self.occupied, self.occupied)

    def at(self, coords: Tensor) -> Tensor:
        """Features [M, C] at sites [M, 4]."""
        b, x, y, z = coords.long().unbind(1)
        half = self.grid.shape[-1] // 2
        return self.grid[b, :, x + half, y + half, z + half]

    def pool(self, *, mean: bool) -> Tensor:
        values, kept = self.grid.flatten(2), self.occupied.flatten(2)
        count = kept.sum(2)
        if mean:
            return values.sum(2) / count.clamp(min=1)
        return values.masked_fill(kept == 0, -torch.inf).amax(2).masked_fill(count == 0, 0.0)


def make_weights(seed: int, *, channels: int = 3) -> list[Tensor]:
    """Weights and biases of the network below."""
    generator = torch.Generator().manual_seed(seed)
    shapes = [(64, channels, 5), (5,), (343, 5), (5,), (8, 5, 6), (6,), (27, 6)]
    return [torch.randn(shape, generator=generator) / len(shape) for shape in shapes]


def network(x: Any, weights: list[Tensor]) -> Any:
    """Every operation once: kernels 4/4, 7, 2/2 and 3."""
    x = x.strided_conv(weights[0], weights[1], kernel_size=4)
    x = x.depthwise_conv(weights[2], weights[3], kernel_size=7)
    x = x.strided_conv(weights[4], weights[5], kernel_size=2)
    return x.depthwise_conv(weights[6], None, kernel_size=3)


def _gradients(
    sites: SiteBatch, weights: list[Tensor], run: Callable[[Tensor, list[Tensor]], list[Tensor]]
) -> list[Tensor]:
    """Outputs of `run` and the gradients of a function of them, features' first."""
    leaves = [t.detach().clone().requires_grad_() for t in (sites.features, *weights)]
    outputs = run(leaves[0], leaves[1:])
    torch.stack([(out**2).sum() + out.sum() for out in outputs]).sum().backward()
    return [t.detach() for t in outputs] + [leaf.grad for leaf in leaves if leaf.grad is not None]


def run_sparse(engine: Engine, sites: SiteBatch, weights: list[Tensor]) -> list[Tensor]:
    """Features in lexicographic order of sites, both poolings, all gradients."""

    def run(features: Tensor, weights: list[Tensor]) -> list[Tensor]:
        x = network(engine.tensor(replace(sites, features=features)), weights)
        return [x.features[lexicographic(x.coords)], x.max_pool(), x.mean_pool()]

    return _gradients(sites, weights, run)


def run_dense(sites: SiteBatch, weights: list[Tensor], *, half: int = 24) -> list[Tensor]:
    """The same by dense convolutions."""

    def run(features: Tensor, weights: list[Tensor]) -> list[Tensor]:
        x = network(Dense.of(sites, features, half=half), weights)
        b, _, *place = x.occupied.nonzero().unbind(1)
        coords = torch.stack([b, *(axis - x.grid.shape[-1] // 2 for axis in place)], dim=1)
        return [x.at(coords), x.pool(mean=False), x.pool(mean=True)]

    return _gradients(sites, weights, run)


def lexicographic(coords: Tensor) -> Tensor:
    """Order of rows [M, 4] by particle, x, y, z."""
    order = torch.arange(len(coords))
    for column in (3, 2, 1, 0):
        order = order[coords[order, column].argsort(stable=True)]
    return order


def assert_close(
    found: list[Tensor], expected: list[Tensor], *, tolerance: float = TOLERANCE
) -> None:
    """Compare lists of tensors, each relative to its largest element."""
    assert len(found) == len(expected)
    for number, (a, b) in enumerate(zip(found, expected, strict=True)):
        a, b = a.detach().float(), b.detach().float()
        assert a.shape == b.shape, f"tensor {number}"
        worst = float((a - b).abs().max()) if a.numel() else 0.0
        scale = float(b.abs().max()) if b.numel() else 1.0
        assert worst <= tolerance * scale, f"tensor {number}: {worst} beside {scale}"
