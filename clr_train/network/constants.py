"""Constant tensors that are made once for each device."""

from __future__ import annotations

import functools

import torch
from torch import Tensor

__all__ = ["constants"]


def constants(values: tuple[float, ...], *, like: Tensor) -> Tensor:
    """Return numbers as a tensor with the dtype and device of `like`; it must not be changed.

    It is made once: this avoids a synchronisation with the GPU.
    """
    return _constants(values, like.dtype, str(like.device))


@functools.cache
def _constants(values: tuple[float, ...], dtype: torch.dtype, device: str) -> Tensor:
    return torch.tensor(values, dtype=dtype, device=device)
