"""Mean and standard deviation of the numbers of size and shape over typical particles.

Measured on the training split of the bundled sample: voxels of 3 mm, energies after the transform
``log``. Standardised numbers have equal weight when a network begins to learn from them.
"""

from __future__ import annotations

from typing import Final

from torch import Tensor

from clr_train.network.constants import constants

__all__ = ["standardised"]

#: (mean, standard deviation) of the columns of `soft_sizes`, then of those of `shape_numbers`.
_TYPICAL: Final = (
    # visible boxes of 1 to 64 voxels
    (0.3, 1.19),
    (0.76, 1.18),
    (1.02, 1.13),
    (1.2, 1.05),
    (1.38, 0.93),
    (1.35, 0.79),
    (0.89, 0.62),
    # sum of energies, widths, mean energies, lean
    (1.29, 1.17),
    (2.69, 0.96),
    (0.38, 0.74),
    (0.06, 0.58),
    (1.03, 0.24),
    (1.01, 0.26),
    (0.12, 0.28),
    # length
    (4.09, 0.98),
    # energy from the end with less
    (0.81, 0.46),
    (0.27, 0.72),
    (0.19, 0.8),
    (0.0, 1.0),
    (-0.23, 1.16),
    (-0.07, 1.69),
    # the same over the weight
    (1.68, 0.19),
    (1.44, 0.38),
    (1.63, 0.47),
    (1.66, 0.65),
    (1.61, 0.78),
    (1.55, 0.88),
    # energy from the end with more
    (0.69, 0.74),
    (0.08, 0.98),
    (0.06, 0.98),
    (-0.09, 1.08),
    (-0.27, 1.17),
    (0.01, 1.64),
    # the same over the weight
    (1.67, 0.39),
    (1.36, 0.55),
    (1.56, 0.59),
    (1.61, 0.69),
    (1.59, 0.79),
    (1.55, 0.88),
    # spectrum
    (1.15, 0.07),
    (0.74, 0.22),
    (-0.01, 0.5),
    (-0.89, 0.73),
    (-1.47, 0.81),
    (-1.71, 0.75),
)
_MEAN: Final = tuple(mean for mean, _ in _TYPICAL)
_DEVIATION: Final = tuple(deviation for _, deviation in _TYPICAL)


def standardised(numbers: Tensor) -> Tensor:
    """Subtract the typical mean of each number and divide by its typical standard deviation.

    `numbers` are the columns of `soft_sizes` and of `shape_numbers`, float32 [N, 45].
    """
    return (numbers - constants(_MEAN, like=numbers)) / constants(_DEVIATION, like=numbers)
