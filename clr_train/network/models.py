"""The shape of an encoder, and the shapes that have a name."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, TypeAlias, get_args

from clr_train.network.box_counting import BOX_EDGES
from clr_train.network.response_norm import GrnSpan
from pilarnet_convert.errors import PilarnetError

__all__ = ["MODELS", "SIZE_WIDTH", "EncoderConfig"]

#: Width of the layers that robust sizes pass before they join the features.
SIZE_WIDTH: Final = 128

Pooling: TypeAlias = Literal["max", "mean", "max+mean", "max+mean+size", "robust"]


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """Shape of an encoder; `name` is that on the command line.

    Parameters
    ----------
    dims, depths : tuple of int
        Channels and blocks of each stage; between stages the stride doubles.
    stem : int
        Edge of the cubes that the first convolution joins, in voxels. 2 in place of 4 keeps twice
        the detail of a track, with twice as many sites.
    kernel_size : int
        Kernel of the depth-wise convolutions, odd.
    drop_path : float
        Probability that a particle skips the last block in training; it rises linearly to this
        from 0 at the first block.
    grn : {"particle", "batch"}
        Over what the global response normalisation takes its norms. "batch" is the published
        form; each particle then depends on the others, which a contrastive loss can exploit.
    pooling : {"max", "mean", "max+mean", "max+mean+size", "robust"}
        How sites become a vector: the largest and the mean of each feature, and the box counts of
        `clr_train.network.box_counting`, because the other two do not contain the size; or all of
        it weighted by energy, so that faint voxels hardly change it.
    neck : int
        Width of a layer with GELU after the pooling, whose output is the vector of a particle;
        0 for none. It is a layer of the projection head that is kept, which represents classes
        better than the input of the head (Chen et al., arXiv:2006.10029, section 2).
    in_channels : int
        Features of a voxel.
    occupancy : bool
        Whether each voxel gets a constant as one more feature. The LayerNorm after the stem
        removes the scale of its input, so without a constant to compare with, the energy of a
        lone voxel would be lost.
    """

    name: str
    dims: tuple[int, ...]
    depths: tuple[int, ...]
    stem: int = 4
    kernel_size: int = 7
    drop_path: float = 0.0
    grn: GrnSpan = "particle"
    pooling: Pooling = "max"
    neck: int = 0
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
        if self.neck < 0:
            self._refuse("neck", "0 or more", self.neck)
        if self.stem < 1 or self.kernel_size % 2 == 0:
            self._refuse("stem, kernel_size", "1 or more, odd", (self.stem, self.kernel_size))

    def _refuse(self, field: str, expected: str, found: object) -> None:
        raise PilarnetError(
            f"model {self.name} cannot be built", field=field, expected=expected, found=found
        )

    @property
    def pools(self) -> tuple[str, ...]:
        """What of each feature the pooling takes: "max", "mean" or both."""
        if self.pooling == "robust":
            return ("max", "mean")
        return tuple(part for part in self.pooling.split("+") if part != "size")

    @property
    def num_sizes(self) -> int:
        """How many numbers of size and shape the pooling joins to the features."""
        if self.pooling == "robust":
            return SIZE_WIDTH
        return len(BOX_EDGES) if self.pooling.endswith("+size") else 0

    @property
    def out_features(self) -> int:
        """Length of the vector of a particle."""
        return self.neck or len(self.pools) * self.dims[-1] + self.num_sizes


#: Sizes by name, the original study's first; the last suit a laptop.
MODELS: dict[str, EncoderConfig] = {
    config.name: config
    for config in (
        EncoderConfig(name="small", dims=(96, 192, 384, 768), depths=(3, 3, 9, 3), drop_path=0.1),
        EncoderConfig(name="tiny", dims=(80, 160, 320, 640), depths=(2, 2, 8, 2), drop_path=0.1),
        EncoderConfig(name="nano", dims=(64, 128, 256, 512), depths=(2, 2, 6, 2)),
        EncoderConfig(name="pico", dims=(40, 80, 160, 320), depths=(2, 2, 6, 2)),
        EncoderConfig(name="femto", dims=(32, 64, 128, 256), depths=(2, 2, 2, 2), stem=2),
        EncoderConfig(
            name="atto",
            dims=(24, 48, 96),
            depths=(1, 1, 1),
            stem=2,
            pooling="max+mean+size",
            neck=384,
        ),
        EncoderConfig(
            name="zepto",
            dims=(32, 64),
            depths=(0, 1),
            kernel_size=3,
            pooling="robust",
            neck=512,
        ),
    )
}
