"""Energies as the network sees them."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from torch import Tensor

__all__ = ["ENERGY_TRANSFORMS", "EnergyTransform", "transform_energy"]

#: Energy that a minimum-ionising particle leaves in a voxel of 3 mm, MeV.
MIP_MEV: Final = 0.63
#: Where `log` turns from linear to logarithmic, MeV: well below a minimum-ionising voxel.
LOG_SCALE_MEV: Final = 0.1


@dataclass(frozen=True, kw_only=True)
class EnergyTransform:
    """A function of the energy in MeV, and what it does."""

    apply: Callable[[Tensor], Tensor]
    meaning: str


ENERGY_TRANSFORMS: Final[Mapping[str, EnergyTransform]] = MappingProxyType(
    {
        "log": EnergyTransform(
            apply=lambda e: (e / LOG_SCALE_MEV).log1p() / math.log1p(MIP_MEV / LOG_SCALE_MEV),
            meaning="log(1 + E / 0.1 MeV), in units of its value for a minimum-ionising voxel "
            "(0.63 MeV): a muon's track reads 1.0, a proton's end (10 MeV and more) above 2.3",
        ),
        "sqrt-clip": EnergyTransform(
            apply=lambda e: e.clamp(0.0, 1.0).sqrt(),
            meaning="sqrt(E / 1 MeV), cut at 1, the original study's: it saturates at 1 MeV, so "
            "a proton's end reads like any other dense voxel",
        ),
        "none": EnergyTransform(apply=lambda e: e, meaning="E in MeV"),
    }
)


def transform_energy(energy: Tensor, *, name: str) -> Tensor:
    """Turn energies into features.

    Parameters
    ----------
    energy : Tensor, float32
        MeV, 0 or more.
    name : str
        One of `ENERGY_TRANSFORMS`, which says what each is.

    Returns
    -------
    Tensor, float32, same shape
    """
    if name not in ENERGY_TRANSFORMS:
        raise ValueError(
            f"energy transform: expected one of {', '.join(ENERGY_TRANSFORMS)}, found {name}"
        )
    return ENERGY_TRANSFORMS[name].apply(energy)
