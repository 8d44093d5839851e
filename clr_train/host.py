"""Where numpy does a tensor's work: on the CPU, in the few things at which torch is far slower.

Both ways give the same bits; the tests compare them.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["by_numpy"]


def by_numpy(tensor: Tensor) -> bool:
    """Say whether the memory of a tensor is the host's, where numpy can reach it."""
    return tensor.device.type == "cpu"
