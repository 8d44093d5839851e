"""The network: a sparse ConvNeXt V2 on particles, and the head that pretraining adds.

Legend: M sites, N particles, C channels, K kernel size.

After Woo et al., "ConvNeXt V2" (arXiv:2301.00808). All convolutions are sparse, as in the original
study of PILArNet: they compute at occupied sites only.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clr_train.batch import SiteBatch
from clr_train.keys import fold_in, uniform
from clr_train.network.box_counting import BOX_EDGES, log_sizes, soft_sizes, visibility
from clr_train.network.layers import Block, StridedConv
from clr_train.network.models import SIZE_WIDTH, EncoderConfig
from clr_train.network.shape import NUM_SHAPE, shape_numbers
from clr_train.network.typical import standardised

if TYPE_CHECKING:
    from clr_train.sparse import Engine, SparseTensor

__all__ = ["ContrastiveModel", "ProjectionHead", "SparseConvNeXt", "evaluating"]

#: Width of the projections, which the loss compares.
_PROJECTION: Final = 128
#: Initial scale of the pooled features beside robust sizes, which say more at first.
_POOLED_WEIGHT: Final = 0.1
#: Energy of a site that weighs half in the robust pooling. A minimum-ionising voxel has 1 after the
#: transform ``log``, and a site of the last stage holds several.
_POOLING_HALF: Final = 2.0
#: Keeps the weighted mean finite where no site is visible.
_LEAST_WEIGHT: Final = 1e-3


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Compute without gradients and without dropped paths inside this context."""
    was_training = module.training
    module.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        module.train(was_training)


def _sum_cubes(x: SparseTensor, *, edge: int) -> SparseTensor:
    """Sum a feature over the sites of each cube."""
    return x.strided_conv(x.features.new_ones(edge**3, 1, 1), None, kernel_size=edge)


def _size_layers() -> nn.Sequential:
    numbers = len(BOX_EDGES) + NUM_SHAPE
    first, second = nn.Linear(numbers, SIZE_WIDTH), nn.Linear(SIZE_WIDTH, SIZE_WIDTH)
    return nn.Sequential(first, nn.GELU(), second, nn.GELU())


class SparseConvNeXt(nn.Module):
    """Sparse ConvNeXt V2: it turns each particle of a batch into a vector."""

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config, self.out_features = config, config.out_features
        in_channels = config.in_channels + config.occupancy
        self.down = nn.ModuleList()
        self.down_norms = nn.ModuleList()
        self.stages = nn.ModuleList()
        previous = in_channels
        for stage, (channels, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
            size = config.stem if stage == 0 else 2
            self.down.append(StridedConv(previous, channels, kernel_size=size))
            # As published: a LayerNorm after the stem, but before the convolutions between stages.
            self.down_norms.append(nn.LayerNorm(channels if stage == 0 else previous, eps=1e-6))
            self.stages.append(
                nn.ModuleList(
                    Block(channels, kernel_size=config.kernel_size, grn=config.grn)
                    for _ in range(depth)
                )
            )
            previous = channels
        pooled = len(config.pools) * previous
        self.norm = nn.LayerNorm(pooled, eps=1e-6)
        self.neck = nn.Linear(pooled + config.num_sizes, config.neck) if config.neck else None
        self.apply(_initialise)
        self.sizes = None
        if config.pooling == "robust":
            # Not initialised like the rest: their inputs are a few numbers of order 1.
            self.sizes = _size_layers()
            nn.init.constant_(self.norm.weight, _POOLED_WEIGHT)
            if self.neck is not None:
                self.neck.reset_parameters()

    def forward(self, sites: SiteBatch, engine: Engine, keys: Tensor | None = None) -> Tensor:
        """Encode N particles in the order of the batch, float [N, out_features].

        An empty particle gives the same finite vector each time.

        Parameters
        ----------
        sites : SiteBatch
            The input; with `config.in_channels` features.
        engine : Engine
            Computes the sparse operations; the weights do not depend on it.
        keys : Tensor, int64 [N], optional
            A random key for each particle, from which drop path draws. Needed in training if
            ``config.drop_path`` is not 0.
        """
        if self.config.occupancy:
            ones = torch.ones_like(sites.features[:, :1])
            sites = replace(sites, features=torch.cat([sites.features, ones], dim=1))
        x, scales = engine.tensor(sites), iter(self._path_scales(keys))
        energy, levels = x.replace(sites.features[:, :1]), [x]
        for index, (down, norm, stage) in enumerate(
            zip(self.down, self.down_norms, self.stages, strict=True)
        ):
            if index == 0:
                x = down(x)
                x = x.replace(norm(x.features))
            else:
                x = down(x.replace(norm(x.features)))
            for block in stage.children():
                x = block(x, scale=next(scales))
            if self.config.pooling == "robust":
                energy = _sum_cubes(energy, edge=2 if index else self.config.stem)
            levels.append(x)
        out, sizes = self._pool(levels, energy=energy, sites=sites)
        if sizes is not None:
            # Joined after the LayerNorm, which would scale them with the features.
            out = torch.cat([out, sizes.to(out.dtype)], dim=1)
        return out if self.neck is None else F.gelu(self.neck(out))

    def _path_scales(self, keys: Tensor | None) -> Sequence[Tensor | None]:
        """Draw, for each block, the factor of its output for each particle, float32 [N].

        It is 0 for a particle that skips the block, otherwise 1 / (1 - rate).
        """
        number = sum(self.config.depths)
        if not (self.training and self.config.drop_path and number):
            return [None] * number
        if keys is None:
            raise ValueError("keys: a model with drop path needs a key for every particle")
        blocks = torch.arange(number, device=keys.device)[:, None]
        rates = self.config.drop_path * blocks.double() / max(number - 1, 1)
        kept = uniform(fold_in(keys, blocks)) >= rates.float()
        return (kept / (1.0 - rates).float()).unbind()

    def _pool(
        self, levels: Sequence[SparseTensor], *, energy: SparseTensor, sites: SiteBatch
    ) -> tuple[Tensor, Tensor | None]:
        """Turn the sites of the last level into a vector of features, and one of sizes if any."""
        x = levels[-1]
        if self.sizes is not None:
            weight = visibility(energy.features, half=_POOLING_HALF)
            x = x.replace(x.features * weight)
            mean = x.mean_pool() / (x.replace(weight).mean_pool() + _LEAST_WEIGHT)
            # A site without weight gives 0, which must not exceed what others give.
            most = x.replace(F.relu(x.features)).max_pool()
            numbers = torch.cat([soft_sizes(sites), shape_numbers(sites)], dim=1)
            sizes: Tensor = self.sizes(standardised(numbers))
            return self.norm(torch.cat([most, mean], dim=1)), sizes
        pools = {"max": x.max_pool, "mean": x.mean_pool}
        out = self.norm(torch.cat([pools[name]() for name in self.config.pools], dim=1))
        return out, log_sizes(levels) if self.config.num_sizes else None


class ProjectionHead(nn.Module):
    """The network between representation and loss, dropped after pretraining (SimCLR).

    It has two layers with a GELU between, or one layer if `hidden` is 0.
    """

    def __init__(self, in_features: int, *, hidden: int, out_features: int) -> None:
        super().__init__()
        self.out_features = out_features
        self.layers = nn.Sequential(nn.Linear(hidden or in_features, out_features))
        if hidden:
            self.layers = nn.Sequential(nn.Linear(in_features, hidden), nn.GELU(), *self.layers)
        self.apply(_initialise)

    def forward(self, representation: Tensor) -> Tensor:
        """Project [N, in_features] to [N, out_features]."""
        projection: Tensor = self.layers(representation)
        return projection


class ContrastiveModel(nn.Module):
    """Encoder and projection head.

    The head has a hidden layer as wide as the representation, unless the encoder has a neck, which
    is such a layer already.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.encoder = SparseConvNeXt(config)
        width = config.out_features
        hidden = 0 if config.neck else width
        self.head = ProjectionHead(width, hidden=hidden, out_features=_PROJECTION)

    def forward(
        self, sites: SiteBatch, engine: Engine, keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return representations, float [N, out_features], and projections, float [N, 128]."""
        representation = self.encoder(sites, engine, keys)
        return representation, self.head(representation)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
