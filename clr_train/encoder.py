"""The network: a sparse ConvNeXt V2 on particle clouds, and the head that pretraining adds.

Legend: M sites, N particles, C channels, K kernel size.

After Woo et al., "ConvNeXt V2" (arXiv:2301.00808), as the original study of PILArNet uses it: all
convolutions are sparse, so a site that holds nothing stays so and costs nothing.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor, nn

from clr_train.layers import Block, GrnSpan, StridedConv
from clr_train.sparse import Engine, SparseTensor
from clr_train.voxels import VoxelBatch
from pilarnet_convert.errors import PilarnetError

__all__ = [
    "MODELS",
    "ContrastiveModel",
    "EncoderConfig",
    "ProjectionHead",
    "SparseConvNeXt",
]


Pooling: TypeAlias = Literal["max", "mean", "max+mean"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Shape of an encoder.

    Parameters
    ----------
    name : str
        What it is called on the command line.
    dims : tuple of int
        Channels of each stage; between stages the stride doubles.
    depths : tuple of int
        Blocks of each stage.
    stem : int
        Voxels along an edge of the cubes that the first convolution joins. Half of 4 keeps twice
        the detail of a track, in twice the sites.
    kernel_size : int
        Kernel of the depth-wise convolutions, odd.
    drop_path : float
        Probability that a particle skips the last block while training; it rises linearly to this
        from 0 at the first.
    grn : {"particle", "batch"}
        Over what the global response normalisation takes its norms. "batch" is the published
        form; it lets every particle see the others, which a contrastive loss can exploit.
    pooling : {"max", "mean", "max+mean"}
        How sites become a vector; "max+mean" joins both and doubles its length.
    in_channels : int
        Features of a voxel.
    occupancy : bool
        Whether a constant joins the features. The stem's output goes through a LayerNorm, which
        removes the scale of its input: of a lone voxel nothing of its energy would be left without
        something to measure it against.
    """

    name: str
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    stem: int = 4
    kernel_size: int = 7
    drop_path: float = 0.0
    grn: GrnSpan = "particle"
    pooling: Pooling = "max"
    in_channels: int = 1
    occupancy: bool = True

    def __post_init__(self) -> None:
        if len(self.dims) != len(self.depths) or not self.dims:
            self._refuse("depths", f"{len(self.dims)} stages, as dims has", self.depths)
        if self.grn not in get_args(GrnSpan):
            self._refuse("grn", " or ".join(get_args(GrnSpan)), self.grn)
        if self.pooling not in get_args(Pooling):
            self._refuse("pooling", ", ".join(get_args(Pooling)), self.pooling)
        if not 0.0 <= self.drop_path < 1.0:
            self._refuse("drop_path", "0 to 1, 1 excluded", self.drop_path)
        if self.stem < 1 or self.kernel_size % 2 == 0:
            self._refuse("stem, kernel_size", "1 or more, odd", (self.stem, self.kernel_size))

    def _refuse(self, field: str, expected: str, found: object) -> None:
        raise PilarnetError(
            f"model {self.name} cannot be built", field=field, expected=expected, found=found
        )

    @property
    def out_features(self) -> int:
        """Length of the vector of a particle."""
        return self.dims[-1] * (2 if self.pooling == "max+mean" else 1)


#: Sizes by name, the original study's first; the last two suit a laptop.
MODELS: dict[str, EncoderConfig] = {
    config.name: config
    for config in (
        EncoderConfig(name="small", dims=(96, 192, 384, 768), depths=(3, 3, 9, 3), drop_path=0.1),
        EncoderConfig(name="tiny", dims=(80, 160, 320, 640), depths=(2, 2, 8, 2), drop_path=0.1),
        EncoderConfig(name="nano", dims=(64, 128, 256, 512), depths=(2, 2, 6, 2)),
        EncoderConfig(name="pico", dims=(40, 80, 160, 320), depths=(2, 2, 6, 2)),
        EncoderConfig(name="femto", dims=(32, 64, 128, 256), depths=(2, 2, 2, 2), stem=2),
        EncoderConfig(name="atto", dims=(24, 48, 96), depths=(1, 1, 1), stem=2, pooling="max+mean"),
    )
}


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
        self.norm = nn.LayerNorm(config.out_features, eps=1e-6)
        self.apply(_initialise)

    @property
    def out_features(self) -> int:
        """Length of the vector of a particle."""
        return self.config.out_features

    def forward(self, voxels: VoxelBatch, engine: Engine, keys: Tensor | None = None) -> Tensor:
        """Encode a batch.

        Parameters
        ----------
        voxels : VoxelBatch
            N clouds.
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
            ones = torch.ones_like(voxels.features[:, :1])
            voxels = replace(voxels, features=torch.cat([voxels.features, ones], dim=1))
        x = engine.tensor(voxels)
        for index, (down, norm, stage) in enumerate(
            zip(self.down, self.down_norms, self.stages, strict=True)
        ):
            if index == 0:
                x = down(x)
                x = x.replace(norm(x.features))
            else:
                x = down(x.replace(norm(x.features)))
            x = stage(x, keys=keys)
        out: Tensor = self.norm(self._pool(x))
        return out

    def _pool(self, x: SparseTensor) -> Tensor:
        if self.config.pooling == "max":
            return x.max_pool()
        if self.config.pooling == "mean":
            return x.mean_pool()
        return torch.cat([x.max_pool(), x.mean_pool()], dim=1)


class ProjectionHead(nn.Module):
    """The network between representation and loss, dropped after pretraining (SimCLR).

    Parameters
    ----------
    in_features, hidden, out_features : int
        Widths; two layers with a GELU between.
    """

    def __init__(self, in_features: int, *, hidden: int, out_features: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(in_features, hidden), nn.GELU(), nn.Linear(hidden, out_features)
        )
        self.apply(_initialise)

    def forward(self, representation: Tensor) -> Tensor:
        """Project [N, in_features] to [N, out_features]."""
        projection: Tensor = self.layers(representation)
        return projection


class ContrastiveModel(nn.Module):
    """Encoder and projection head.

    Parameters
    ----------
    config : EncoderConfig
        Shape of the encoder.
    hidden : int, optional
        Width of the head's hidden layer; that of the representation by default.
    projection : int
        Length of the projection.
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        hidden: int | None = None,
        projection: int = 128,
    ) -> None:
        super().__init__()
        self.encoder = SparseConvNeXt(config)
        width = self.encoder.out_features
        self.head = ProjectionHead(width, hidden=hidden or width, out_features=projection)

    def forward(
        self, voxels: VoxelBatch, engine: Engine, keys: Tensor | None = None
    ) -> tuple[Tensor, Tensor]:
        """Return representation [N, out_features] and projection [N, projection]."""
        representation = self.encoder(voxels, engine, keys)
        return representation, self.head(representation)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Linear):
        nn.init.trunc_normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
