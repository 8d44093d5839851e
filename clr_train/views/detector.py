"""Another detector: electron lifetime, transverse diffusion and electric field.

Energies are stored as a nominal detector reads them; each function gives what another detector
reads instead, so that the nominal one changes nothing. Everything is computed in float64.

Shapes: V voxels, N particles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor

from clr_train.ragged import RaggedIndex

__all__ = [
    "NOMINAL",
    "RANGES",
    "THROWS",
    "VOXEL_CM",
    "Detector",
    "drift_velocity",
    "recombination",
    "throw_towards",
]

VOXEL_CM: Final = 0.3


@dataclass(frozen=True, kw_only=True)
class Detector:
    """The parameters that a throw changes.

    Parameters
    ----------
    field : Tensor or float
        Electric field, kV/cm.
    diffusion : Tensor or float
        Transverse diffusion, cm^2/us.
    lifetime : Tensor or float
        Lifetime of drifting electrons, us.

    Each is a number, or float64 [N], a value for each particle.
    """

    field: Tensor | float = 0.5
    diffusion: Tensor | float = 8.8e-6
    lifetime: Tensor | float = 2200.0

    def of_voxels(self, index: RaggedIndex) -> tuple[Tensor, Tensor, Tensor]:
        """Return field, diffusion and lifetime for each voxel, float64 [V]."""
        rows = (
            torch.as_tensor(getattr(self, f.name), dtype=torch.float64, device=index.offset.device)
            for f in fields(self)
        )
        values = torch.stack([row.expand(index.num_particles) for row in rows])
        field, diffusion, lifetime = index.broadcast(values, dim=-1)
        return field, diffusion, lifetime


NOMINAL: Final = Detector()
#: Lowest and highest value of each parameter in the original study (arXiv:2502.07724).
RANGES: Final[Mapping[str, tuple[float, float]]] = MappingProxyType(
    {"field": (0.45, 0.55), "diffusion": (4e-6, 14e-6), "lifetime": (500.0, 5000.0)}
)


def throw_towards(share: float, *names: str) -> Detector:
    """Make a detector between the nominal one and the ends of the ranges.

    Parameters
    ----------
    share : float
        How far parameters move to their upper ends, or to their lower ends where negative: 0 is
        nominal, 1 and -1 are the ends. A value that would not be positive becomes the lower end.
    *names : str
        Parameters to move; all if none is named.
    """
    moved = {}
    for name in names or RANGES:
        low, high = RANGES[name]
        nominal = float(getattr(NOMINAL, name))
        value = nominal + abs(share) * ((high if share > 0 else low) - nominal)
        moved[name] = value if value > 0 else low
    return Detector(**moved)


#: The fixed detectors of the original study, by its numbers. In ``throw-17``, three times as far as
#: the lower ends, diffusion and lifetime would not be positive: they become those ends.
THROWS: Final[Mapping[str, Detector]] = MappingProxyType(
    {
        "throw-1": throw_towards(1.0),
        "throw-2": throw_towards(-1.0),
        "throw-3": throw_towards(1.0, "field"),
        "throw-4": throw_towards(1.0, "diffusion"),
        "throw-5": throw_towards(1.0, "lifetime"),
        "throw-6": throw_towards(-1.0, "field"),
        "throw-7": throw_towards(-1.0, "diffusion"),
        "throw-8": throw_towards(-1.0, "lifetime"),
        "throw-9": throw_towards(0.25),
        "throw-10": throw_towards(-0.25),
        "throw-11": throw_towards(0.5),
        "throw-12": throw_towards(-0.5),
        "throw-13": throw_towards(0.75),
        "throw-14": throw_towards(-0.75),
        "throw-15": NOMINAL,
        "throw-16": throw_towards(3.0),
        "throw-17": throw_towards(-3.0),
    }
)


def drift_velocity(field: Tensor) -> Tensor:
    """Compute the drift velocity of electrons in liquid argon at 87.3 K, cm/us.

    The parametrisation of W. Walkowiak, Nucl. Instrum. Meth. A 449 (2000) 288;
    1.63 mm/us at 0.5 kV/cm.

    Parameters
    ----------
    field : Tensor, float64
        kV/cm.
    """
    delta_k = 87.3 - 90.371  # difference from the reference temperature, K
    shape = 0.141 * field * torch.log1p(12.4 / field) + 1.627 * field**0.317
    return 0.1 * ((1.0 - 0.01481 * delta_k) * shape - 0.0075 * delta_k)


def recombination(de_dx: Tensor, *, field: Tensor) -> Tensor:
    """Compute the fraction of electrons that escape recombination: the modified box model.

    ln(A + x) / x with x = B (dE/dx) / (density E), A = 0.93, B = 0.212 (kV/cm) (g/cm^2) / MeV and
    1.38 g/cm^3: ArgoNeuT, JINST 8 (2013) P08005.

    Parameters
    ----------
    de_dx : Tensor, float64
        MeV/cm. Below 1 MeV/cm, half of what a minimum-ionising particle loses, a track crossed the
        voxel only in part and the model does not apply: its value at 1 MeV/cm is taken.
    field : Tensor, float64
        kV/cm.
    """
    x = 0.212 * de_dx.clamp(min=1.0) / (1.38 * field)
    return torch.log(0.93 + x) / x
