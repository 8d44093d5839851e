"""Energy and shape of a particle in a few numbers, which faint voxels hardly change.

Sites weigh by their visibility. Energies are the transformed ones, so a minimum-ionising voxel has
1 after the transform ``log``; less than 0 counts as 0.

Legend: M sites, N particles, B bins of the distance from an end.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import torch
from torch import Tensor

from clr_train.batch import SiteBatch
from clr_train.network.box_counting import visibility
from clr_train.network.constants import constants
from clr_train.ragged import offsets_of, sum_groups

__all__ = ["END_BINS", "NUM_SHAPE", "SPECTRUM", "shape_numbers"]

#: Distances from an end that bound the bins, voxels; the last bin is all beyond.
END_BINS: Final = (2.0, 4.0, 8.0, 16.0, 32.0)
#: Widths of the bins, voxels; the last bin is open and is divided by 32.
_WIDTHS: Final = (2.0, 2.0, 4.0, 8.0, 16.0, 32.0)
#: Energies above which sites are counted: 0.39 to 9.6 MeV before the transform ``log``.
SPECTRUM: Final = (0.8, 1.1, 1.4, 1.7, 2.0, 2.3)
#: Columns of `shape_numbers`.
NUM_SHAPE: Final = 7 + 1 + 4 * len(_WIDTHS) + len(SPECTRUM)
#: Energy of a site that weighs half.
_HALF: Final = 1.0
#: An end is where 2 % of the weight lies beyond; sites up to 2 voxels further still count.
_BEYOND: Final = 0.02
_MARGIN: Final = 2.0
#: The whole number that stands for a weight of 1.
_UNITS: Final = 1 << 32
#: How steeply a site begins to count as above an energy.
_SHARPNESS: Final = 10.0
#: Added under logarithms and to divisors: energies and counts, and widths in voxels.
_FLOOR: Final = 0.1
_WIDTH_FLOOR: Final = 0.5
_TINY: Final = 1e-9


def shape_numbers(sites: SiteBatch) -> Tensor:
    """Compute energy, widths, profiles from both ends, and spectrum, float32 [N, 38].

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
        - the logarithm of the length along the longest axis; and for each bin of the distance from
          the end with less energy, then from the other, the logarithm of its energy over its
          width, and then for each its energy over its weight. So a stopping particle shows how
          its energy loss rises over the last centimetres;
        - for each energy of `SPECTRUM`, half the logarithm of the share of sites above, plus 1.
    """
    frame = _Frame(sites)
    numbers = torch.cat([_moments(frame), _profiles(frame), _spectrum(frame)], dim=1)
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
    def along(self) -> Tensor:
        """Coordinate along the longest axis, towards the end with more energy, [M]."""
        lean = self.total((self.coordinates[:, 0] * self.energy)[:, None])[:, 0]
        direction = torch.where(lean < 0, -1.0, 1.0).to(lean.dtype)
        return self.coordinates[:, 0] * direction[self.sites.particle]

    @cached_property
    def ends(self) -> tuple[Tensor, Tensor]:
        """Coordinates `along` between which all but 2 % of the weight lies at either end, [N] each.

        They are 0 for a particle without sites.
        """
        order = self.along.argsort(stable=True)
        order = order[self.sites.particle[order].argsort(stable=True)]  # by particle
        start, stop = self.sites.index.offset[:-1], self.sites.index.offset[1:]
        # Whole numbers, whose sums are exact: no particle depends on others of its batch.
        sums = offsets_of((self.weight[order] * _UNITS).long())
        before, after = sums[start], sums[stop]
        beyond = ((after - before) * _BEYOND).long()
        first = torch.searchsorted(sums[1:], before + beyond)
        last = torch.searchsorted(sums[:-1], after - beyond, right=True) - 1
        along = torch.cat([self.along[order], self.along.new_zeros(1)])
        nowhere = torch.full_like(start, len(order))
        begin, end = (
            along[torch.where(start < stop, row.clamp(start, stop - 1), nowhere)]
            for row in (first, last)
        )
        return begin, end

    def total(self, values: Tensor) -> Tensor:
        """Sum the rows of each particle, [M, C] to [N, C]."""
        return self.sites.index.sum(values)


def _moments(frame: _Frame) -> Tensor:
    energies = frame.energies
    columns = [
        (energies + _FLOOR).log() - 3.0,
        (frame.widths + _WIDTH_FLOOR).log(),
        frame.total((frame.weight * frame.energy)[:, None]) / frame.weights,
        frame.total(frame.energy.square()[:, None]) / energies.clamp(min=_TINY),
        frame.total((3.0 * frame.along * frame.energy)[:, None])
        / (energies.clamp(min=_TINY) * (frame.widths[:, :1] + _WIDTH_FLOOR)),
    ]
    return torch.cat(columns, dim=1)


def _profiles(frame: _Frame) -> Tensor:
    particle, count = frame.sites.particle, frame.sites.num_particles
    bounds = constants(END_BINS, like=frame.along)
    width = constants(_WIDTHS, like=frame.along)
    bins = len(_WIDTHS)
    begin, end = frame.ends
    columns = [(end - begin + 1.0).log()[:, None]]
    for distance in (frame.along - begin[particle], end[particle] - frame.along):
        number = particle * bins + torch.bucketize(distance, bounds)
        held = torch.stack([frame.energy, frame.weight], dim=1) * (distance > -_MARGIN)[:, None]
        sums = sum_groups(held, number, num_groups=count * bins)
        energy, weight = sums.view(count, bins, 2).unbind(2)
        columns += [(energy / width + _FLOOR).log(), energy / (weight + _WIDTH_FLOOR)]
    return torch.cat(columns, dim=1)


def _spectrum(frame: _Frame) -> Tensor:
    over = frame.energy[:, None] - constants(SPECTRUM, like=frame.energy)
    above = frame.total(torch.sigmoid(_SHARPNESS * over))
    return 1.0 + 0.5 * ((above + _FLOOR) / (frame.weights + _FLOOR)).log()
