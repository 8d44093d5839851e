"""The geometry of projections on the unit sphere (Wang and Isola, arXiv:2005.10242)."""

from __future__ import annotations

from torch import Tensor
from torch.nn.functional import normalize, pdist

__all__ = ["alignment", "uniformity"]


def alignment(first: Tensor, *, second: Tensor) -> float:
    """Compute the mean squared distance of positive pairs, L_align with alpha = 2.

    The projections of the two views, float [N, D], are normalised here. The result is 0 for
    identical directions and 2 for independent ones.
    """
    gap = normalize(first.float()) - normalize(second.float())
    return float(gap.square().sum(dim=1).mean())


def uniformity(projections: Tensor) -> float:
    """Compute how evenly projections spread over the sphere, L_uniform with t = 2.

    It is the logarithm of the mean of exp(-2 d^2) over all pairs of the N > 1 projections, float
    [N, D], which are normalised here: 0 if all directions are the same, and lower the more evenly
    they spread.
    """
    distance = pdist(normalize(projections.float()))
    return float(distance.square().mul(-2).exp().mean().log())
