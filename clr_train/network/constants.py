"""Constant tensors that are made once for each device."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["constants"]


def constants(values: tuple[float, ...], *, like: Tensor) -> Tensor:
    """Make a tensor of numbers with the type and device of another; it may not be changed.

    It is kept, because a copy of numbers to a GPU waits for the device.
    """
    return _constants(values, like.dtype, str(like.device))


@functools.cache
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
