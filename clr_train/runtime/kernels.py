"""Where Triton kernels run."""

from __future__ import annotations

import functools
from importlib.util import find_spec

from torch import Tensor

__all__ = ["has_triton", "runs_triton"]


@functools.cache
def has_triton() -> bool:
    """Whether Triton is installed; it comes with a CUDA build of PyTorch."""
    return find_spec("triton") is not None


def runs_triton(tensor: Tensor) -> bool:
    """Whether kernels of Triton compute on a tensor: it is on CUDA, and Triton is installed."""
    return tensor.is_cuda and has_triton()
