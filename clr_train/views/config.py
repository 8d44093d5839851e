"""The options of views: which augmentations are drawn, and how strong each is."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pilarnet_convert.options import OptionError, check_options, documented, option

__all__ = ["AUGMENTATION_NAMES", "DRIFT_AXES", "ViewConfig"]

#: What each augmentation does, in the order of application.
AUGMENTATION_NAMES: Final[Mapping[str, str]] = MappingProxyType(
    {
        "throw": "another detector: lifetime, diffusion and field drawn within ranges",
        "shift-energy": "one factor for the particle, uniform below 1",
        "shift-energy-normal": "one Gaussian factor for the particle",
        "scale-energy": "a Gaussian factor for each voxel",
        "smear-energy": "Gaussian noise on each voxel's energy",
        "noise": "voxels of low energy are added, near and far",
        "threshold": "voxels below a drawn energy are removed",
        "crop": "a random cube is kept",
        "cutout": "a random cube is removed",
        "drop": "each voxel is removed with a probability",
        "flip": "each axis is reversed with probability 1/2",
        "scale": "one factor for the size of the particle",
        "rotate": "uniform over SO(3), about the centroid",
        "jitter": "Gaussian noise on each voxel's position",
        "translate": "uniform on each axis",
        "identity": "nothing",
    }
)
#: Axes along which charge may drift.
DRIFT_AXES: Final = ("x", "y", "z")


@documented
@dataclass(frozen=True, kw_only=True)
class ViewConfig:
    """How views are made.

    Raises
    ------
    OptionError
        A value is outside its limits, an augmentation is named twice, or more are drawn than named.
    """

    augmentations: tuple[str, ...] = option(
        ("rotate", "translate", "shift-energy", "drop"),
        "Augmentations to draw from, comma-separated.",
        choices=tuple(AUGMENTATION_NAMES),
    )
    num_augmentations: int = option(2, "Number of augmentations that each view draws.", least=0)
    draw: str = option(
        "without-replacement",
        "Whether a view may draw an augmentation again, which is then applied again.",
        choices=("without-replacement", "with-replacement"),
    )
    energy_transform: str = option(
        "log",
        "Transform of the energy of a voxel. log separates the end of a proton from the track of "
        "a muon; sqrt-clip is the original study's and saturates at 1 MeV.",
        choices=("log", "sqrt-clip", "none"),
    )
    throw_strength: float = option(
        1.0,
        "throw: range of the detector parameters, as a fraction of the original study's.",
        least=0,
        most=3,
    )
    drift_axis: str = option(
        "x", "throw: axis along which charge drifts; the anode is at voxel 0.", choices=DRIFT_AXES
    )
    shift_energy: float = option(
        0.1, "shift-energy: largest relative loss of energy.", least=0, below=1
    )
    shift_energy_sigma: float = option(
        0.1,
        "shift-energy-normal: standard deviation of the factor, whose mean is 1.",
        least=0,
        most=100,
    )
    scale_energy_sigma: float = option(
        0.1, "scale-energy: standard deviation of the factors, whose mean is 1.", least=0, most=100
    )
    smear_energy_mev: float = option(
        0.05,
        "smear-energy: standard deviation of the noise, MeV. A minimum-ionising particle "
        "leaves 0.63 MeV in a voxel.",
        least=0,
        most=1000,
    )
    noise_fraction: float = option(
        0.1, "noise: most voxels added, as a fraction of the particle's.", least=0, most=1
    )
    noise_energy_mev: float = option(
        0.15, "noise: mean energy of an added voxel, MeV.", above=0, most=1000
    )
    threshold_mev: float = option(0.2, "threshold: the highest threshold, MeV.", least=0, most=1000)
    crop_fraction: float = option(
        0.5,
        "crop: half the edge of the smallest cube, as a fraction of the particle's longest extent.",
        least=0,
        most=1,
    )
    cutout_fraction: float = option(
        0.5,
        "cutout: edge of the largest cube, as a fraction of the particle's longest extent.",
        least=0,
        below=1,
    )
    drop_probability: float = option(
        0.1, "drop: probability that a voxel is removed.", least=0, below=1
    )
    scale_fraction: float = option(
        0.1, "scale: largest relative change of the size.", least=0, below=1
    )
    jitter_voxels: float = option(
        0.3,
        "jitter: standard deviation of the noise on each coordinate, voxels.",
        least=0,
        most=1000,
    )
    translate_voxels: float = option(
        51.2,
        "translate: upper end of the range on each axis, voxels; a tenth of a 512 cube.",
        least=0,
        most=10_000,
    )

    def __post_init__(self) -> None:
        check_options(self)
        for name in self.augmentations:
            if self.augmentations.count(name) > 1:
                raise OptionError(
                    "an augmentation is named twice",
                    field="--augmentations",
                    found=name,
                    advice="name each once",
                )
        if self.num_augmentations and not self.augmentations:
            raise OptionError("no augmentation to draw from", field="--augmentations")
        if self.draw == "without-replacement" and self.num_augmentations > len(self.augmentations):
            raise OptionError(
                "more augmentations to draw than to draw from",
                field="--num-augmentations",
                expected=f"at most {len(self.augmentations)}, as many as --augmentations names",
                found=self.num_augmentations,
            )
