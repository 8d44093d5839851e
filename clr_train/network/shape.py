"""Energy and shape of a particle in a few numbers, which faint voxels hardly move.

Sites weigh by their visibility. Energies are the transformed ones, so a minimum-ionising voxel has
1 after the transform ``log``; less than 0 counts as 0.

Legend: M sites, N particles, B slices.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.network.box_counting import constants, visibility
from clr_train.ragged import sum_groups

__all__ = ["NUM_SHAPE", "SLICES", "SPECTRUM", "shape_numbers"]

#: Slices of a particle along its longest axis.
SLICES: Final = 8
#: Energies over which sites are counted: 0.39 to 9.6 MeV before the transform ``log``.
SPECTRUM: Final = (0.8, 1.1, 1.4, 1.7, 2.0, 2.3)
#: Columns of `shape_numbers`.
NUM_SHAPE: Final = 7 + 3 * SLICES + len(SPECTRUM)
#: Energy of a site that weighs half.
_HALF: Final = 1.0
#: Slices reach so many mean distances from the middle.
_REACH: Final = 2.4
#: How sharp the counts over an energy are.
_SHARPNESS: Final = 10.0
#: Added under logarithms and to divisors: energies and counts, and widths in voxels.
_FLOOR: Final = 0.1
_WIDTH_FLOOR: Final = 0.5
_TINY: Final = 1e-9


def shape_numbers(sites: SiteBatch) -> Tensor:
    """Compute energy, widths, slices along the longest axis, and spectrum, float32 [N, 37].

    A particle without sites has the numbers of one without energy.

    Parameters
    ----------
    sites : SiteBatch
        N particles; the first feature is the transformed energy.

    Returns
    -------
    Tensor
        - logarithm of the sum of the energies; of the mean distances from the middle along the
          three principal axes, the longest first; mean energy; mean energy weighted by energy,
          which a dense end raises; and how far the energy lies towards one end;
        - for each slice, from the end with less energy: its share of the energy, the logarithm of
          the mean distance from the axis, and the energy over the weight;
        - for each energy of `SPECTRUM`, the logarithm of the share of sites above.
    """
    frame = _Frame(sites)
    numbers = torch.cat([_moments(frame), _slices(frame), _spectrum(frame)], dim=1)
    return numbers.float()


@dataclass(frozen=True)
class _Frame:
    """Sites in the coordinates of their particle's principal axes."""

    sites: SiteBatch

    @cached_property
    def energy(self) -> Tensor:
        return self.sites.features[:, 0].clamp(min=0.0).double()

    @cached_property
    def weight(self) -> Tensor:
        return visibility(self.energy, half=_HALF)

    @cached_property
    def weights(self) -> Tensor:
        """Sum of the weights of each particle, [N, 1]."""
        return self.total(self.weight[:, None]).clamp(min=_TINY)

    @cached_property
    def energies(self) -> Tensor:
        """Sum of the energies of each particle, [N, 1]."""
        return self.total(self.energy[:, None])

    @cached_property
    def coordinates(self) -> Tensor:
        """Coordinates from the middle along the principal axes, the longest first, [M, 3]."""
        xyz, particle = self.sites.xyz.double(), self.sites.particle
        place = xyz - (self.total(xyz * self.weight[:, None]) / self.weights)[particle]
        products = (place[:, :, None] * place[:, None, :]).flatten(1)
        covariance = (self.total(products * self.weight[:, None]) / self.weights).view(-1, 3, 3)
        axes = torch.linalg.eigh(covariance).eigenvectors.flip(2)
        return torch.einsum("mi,mij->mj", place, axes[particle])

    @cached_property
    def widths(self) -> Tensor:
        """Mean distance from the middle along each axis, [N, 3].

        Not the standard deviation, which a voxel far away would make large.
        """
        return self.total(self.coordinates.abs() * self.weight[:, None]) / self.weights

    @cached_property
    def lean(self) -> Tensor:
        """Mean coordinate along the longest axis, weighted by energy, [N]."""
        along = self.total((self.coordinates[:, 0] * self.energy)[:, None])
        return (along / self.energies.clamp(min=_TINY))[:, 0]

    def total(self, values: Tensor) -> Tensor:
        """Sum the rows of each particle, [M, C] to [N, C]."""
        return sum_groups(
            values, self.sites.particle, num_groups=self.sites.num_particles, is_sorted=True
        )


def _moments(frame: _Frame) -> Tensor:
    energies = frame.energies
    columns = [
        (energies + _FLOOR).log() - 3.0,
        (frame.widths + _WIDTH_FLOOR).log(),
        frame.total((frame.weight * frame.energy)[:, None]) / frame.weights,
        frame.total(frame.energy.square()[:, None]) / energies.clamp(min=_TINY),
        3.0 * (frame.lean.abs() / (frame.widths[:, 0] + _WIDTH_FLOOR))[:, None],
    ]
    return torch.cat(columns, dim=1)


def _slices(frame: _Frame) -> Tensor:
    particle, count = frame.sites.particle, frame.sites.num_particles
    unit = frame.lean.sign() / (frame.widths[:, 0] + _WIDTH_FLOOR)
    along = frame.coordinates[:, 0] * unit[particle] / _REACH
    number = ((along + 1.0) * (SLICES / 2)).floor().clamp(0, SLICES - 1).long()
    away = frame.coordinates[:, 1:].square().sum(1).sqrt()
    held = torch.stack([frame.energy, frame.weight, away * frame.weight], dim=1)
    sums = sum_groups(held, particle * SLICES + number, num_groups=count * SLICES)
    energy, weight, distance = sums.view(count, SLICES, 3).unbind(2)
    columns = [
        energy / (frame.energies + _FLOOR),
        (distance / (weight + _FLOOR) + _WIDTH_FLOOR).log(),
        energy / (weight + _WIDTH_FLOOR),
    ]
    return torch.cat(columns, dim=1)


def _spectrum(frame: _Frame) -> Tensor:
    over = frame.energy[:, None] - constants(SPECTRUM, like=frame.energy)
    above = frame.total(torch.sigmoid(_SHARPNESS * over))
    return ((above + _FLOOR) / (frame.weights + _FLOOR)).log()
