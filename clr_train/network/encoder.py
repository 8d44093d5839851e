"""The network: a sparse ConvNeXt V2 on particle clouds, and the head that pretraining adds.

Legend: M sites, N particles, C channels, K kernel size.

After Woo et al., "ConvNeXt V2" (arXiv:2301.00808), as the original study of PILArNet uses it: all
convolutions are sparse, so a site that holds nothing stays so and costs nothing.
"""

from __future__ import annotations

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from clr_train.batch import SiteBatch
from clr_train.network.box_counting import log_sizes
from clr_train.network.layers import Block, StridedConv
from clr_train.network.models import EncoderConfig
from clr_train.sparse import Engine, SparseTensor

__all__ = [
    "ContrastiveModel",
    "ProjectionHead",
    "SparseConvNeXt",
]


class Stage(nn.ModuleList):
    """Blocks at one stride, the first of them number `first` of the network."""

    def __init__(
        self, channels: int, *, config: EncoderConfig, rates: list[float], first: int
    ) -> None:
        super().__init__(
            Block(
                channels,
                kernel_size=config.kernel_size,
                grn=config.grn,
                drop_path=rate,
                salt=first + index,
            )
            for index, rate in enumerate(rates)
        )

    def forward(self, x: SparseTensor, *, keys: Tensor | None) -> SparseTensor:
        """Apply the blocks in turn."""
        for block in self:
            x = block(x, keys=keys)
        return x


class SparseConvNeXt(nn.Module):
    """Sparse ConvNeXt V2: particles in, a vector each out.

    Parameters
    ----------
    config : EncoderConfig
        Its shape.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        last = max(sum(config.depths) - 1, 1)
        rates = [config.drop_path * index / last for index in range(last + 1)]
        in_channels = config.in_channels + config.occupancy
        self.down = nn.ModuleList()
        self.down_norms = nn.ModuleList()
        self.stages = nn.ModuleList()
        previous, first = in_channels, 0
        for stage, (channels, depth) in enumerate(zip(config.dims, config.depths, strict=True)):
            size = config.stem if stage == 0 else 2
            self.down.append(StridedConv(previous, channels, kernel_size=size))
            # The stem is normalised after, the others before their convolution, as published.
            self.down_norms.append(nn.LayerNorm(channels if stage == 0 else previous, eps=1e-6))
            self.stages.append(
                Stage(channels, config=config, rates=rates[first : first + depth], first=first)
            )
            previous, first = channels, first + depth
        pooled = len(config.pools) * previous
        self.norm = nn.LayerNorm(pooled, eps=1e-6)
        self.neck = nn.Linear(pooled + config.num_sizes, config.neck) if config.neck else None
        self.apply(_initialise)

    @property
    def out_features(self) -> int:
        """Length of the vector of a particle."""
        return self.config.out_features

    def forward(self, sites: SiteBatch, engine: Engine, keys: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Parameters
        ----------
        sites : SiteBatch
            N particles.
        engine : Engine
            Who computes the sparse operations; the weights do not depend on it.
        keys : Tensor, int64 [N], optional
            A key of each particle's view in this step, for drop path: the draw depends on it and
            on nothing else. Needed while training where `config.drop_path` is not 0.

        Returns
        -------
        Tensor, float [N, out_features]
            In the order of the batch; an empty particle gives the same finite vector each time.
        """
        if self.config.occupancy:
            ones = torch.ones_like(sites.features[:, :1])
            sites = replace(sites, features=torch.cat([sites.features, ones], dim=1))
        x = engine.tensor(sites)
        for index, (down, norm, stage) in enumerate(
            zip(self.down, self.down_norms, self.stages, strict=True)
        ):
            if index == 0:
                x = down(x)
                x = x.replace(norm(x.features))
            else:
                x = down(x.replace(norm(x.features)))
            x = stage(x, keys=keys)
        pools = {"max": x.max_pool, "mean": x.mean_pool}
        out = self.norm(torch.cat([pools[name]() for name in self.config.pools], dim=1))
        if self.config.num_sizes:
            # Outside the LayerNorm, which would weigh them against the features.
            out = torch.cat([out, log_sizes(sites).to(out.dtype)], dim=1)
        return out if self.neck is None else F.gelu(self.neck(out))


class ProjectionHead(nn.Module):
    """The network between representation and loss, dropped after pretraining (SimCLR).

    Parameters
    ----------
    in_features, hidden, out_features : int
        Widths; two layers with a GELU between, or one layer where `hidden` is 0.
    """

    def __init__(self, in_features: int, *, hidden: int, out_features: int) -> None:
        super().__init__()
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

    The head has a hidden layer as wide as the representation, unless that is one already: the
    neck's.

    Parameters
    ----------
    config : EncoderConfig
        Shape of the encoder.
    projection : int
        Length of the projection.
    """

    def __init__(self, config: EncoderConfig, *, projection: int = 128) -> None:
        super().__init__()
        self.encoder = SparseConvNeXt(config)
        width = config.out_features
        hidden = 0 if config.neck else width
        self.head = ProjectionHead(width, hidden=hidden, out_features=projection)

    def forward(
        self, sites: SiteBatch, engine: Engine, keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return representation [N, out_features] and projection [N, projection]."""
        representation = self.encoder(sites, engine, keys)
        return representation, self.head(representation)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
