"""What is another matter on the CPU: numpy reaches its tensors, and a look waits for nothing.

It serves the few things at which torch on the CPU is far slower than need be. Both ways give the
same bits; the tests compare them.
"""

from __future__ import annotations

from torch import Tensor

__all__ = ["holds"]


def holds(tensor: Tensor) -> bool:
    """Say whether a tensor lies in the memory of the host."""
    return tensor.device.type == "cpu"
