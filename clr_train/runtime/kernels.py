"""Where Triton kernels run."""

from __future__ import annotations

import functools
from importlib.util import find_spec

import torch
from torch import Tensor

__all__ = ["has_triton", "runs_triton"]


@functools.cache
def has_triton() -> bool:
    """Whether Triton works here.

    It comes with a CUDA build of PyTorch, and needs a GPU, a C compiler and Python's headers.
    """
    if not torch.cuda.is_available() or find_spec("triton") is None:
        return False
    try:
        from triton.runtime import driver

        return driver.active.utils is not None  # compiled here, unless it was before
    except Exception:  # without a compiler any, of Triton or of the compiler
        return False


def runs_triton(tensor: Tensor) -> bool:
    """Whether kernels of Triton compute on a tensor: it is on CUDA, and Triton works."""
    return tensor.is_cuda and has_triton()
