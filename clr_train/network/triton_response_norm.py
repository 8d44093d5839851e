"""The response norm of each particle as Triton kernels, for CUDA.

Legend: M sites, N particles, C channels.

Some forty operations, forward and backward, are eleven here. A program sums the sites of
one particle, a tile at a time and in their order, so a step gives the same bits each time.
"""
# Triton's compiler reads annotations and refuses those of Python's type checkers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl
from torch import Tensor

from clr_train.ragged import RaggedIndex

__all__ = ["response_norm"]

_ROWS = 16


@triton.jit  # type: ignore[untyped-decorator]
def _sum_products(
    x_ptr,  # [M, C]
    y_ptr,  # [M, C]
    product_ptr,  # float32 [N, C]
    sum_ptr,  # float32 [N, C]
    offset_ptr,  # int64 [N + 1]
    num_channels,
    WITH_SUM: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Sum x * y, and y itself if WITH_SUM, over the rows of one particle."""
    particle = tl.program_id(0).to(tl.int64)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    in_channels = channel < num_channels
    first = tl.load(offset_ptr + particle)
    last = tl.load(offset_ptr + particle + 1)
    product = tl.zeros((CHANNELS,), dtype=tl.float32)
    total = tl.zeros((CHANNELS,), dtype=tl.float32)
    for start in range(first, last, ROWS):
        row = start + tl.arange(0, ROWS)
        mask = (row < last)[:, None] & in_channels[None, :]
        place = row[:, None] * num_channels + channel[None, :]
        x = tl.load(x_ptr + place, mask=mask, other=0.0).to(tl.float32)
        y = tl.load(y_ptr + place, mask=mask, other=0.0).to(tl.float32)
        product += tl.sum(x * y, axis=0)
        if WITH_SUM:
            total += tl.sum(y, axis=0)
    out = particle * num_channels + channel
    tl.store(product_ptr + out, product, mask=in_channels)
    if WITH_SUM:
        tl.store(sum_ptr + out, total, mask=in_channels)


@triton.jit  # type: ignore[untyped-decorator]
def _scale_and_add(
    x_ptr,  # [M, C]
    scale_ptr,  # float32 [N, C]
    y_ptr,  # [M, C], or not read
    add_ptr,  # float32 [N, C] for each particle's rows of y, or [C]
    out_ptr,  # [M, C]
    particle_ptr,  # int64 [M]
    num_rows,
    num_channels,
    WITH_Y: tl.constexpr,
    ROWS: tl.constexpr,
    CHANNELS: tl.constexpr,
):
    """Return x * scale + y * add with those of each row's particle; without y, x * scale + add."""
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    in_rows = row < num_rows
    in_channels = channel < num_channels
    mask = in_rows[:, None] & in_channels[None, :]
    particle = tl.load(particle_ptr + row, mask=in_rows, other=0)
    place = row[:, None] * num_channels + channel[None, :]
    of_particle = particle[:, None] * num_channels + channel[None, :]
    x = tl.load(x_ptr + place, mask=mask, other=0.0).to(tl.float32)
    out = x * tl.load(scale_ptr + of_particle, mask=mask, other=0.0)
    if WITH_Y:
        y = tl.load(y_ptr + place, mask=mask, other=0.0).to(tl.float32)
        out += y * tl.load(add_ptr + of_particle, mask=mask, other=0.0)
    else:
        out += tl.load(add_ptr + channel, mask=in_channels, other=0.0)[None, :]
    tl.store(out_ptr + place, out.to(out_ptr.dtype.element_ty), mask=mask)


def response_norm(
    x: Tensor, gamma: Tensor, beta: Tensor, index: RaggedIndex, *, tiny: float, epsilon: float
) -> Tensor:
    """Normalise features [M, C], of any floating type, whose rows are sorted by particle.

    See `clr_train.network.response_norm.GlobalResponseNorm`. Norms and weights, [C], are float32;
    `tiny` is added under the root of a norm, `epsilon` to the mean of the norms.
    """
    out: Tensor = _ResponseNorm.apply(x, gamma, beta, index, tiny, epsilon)  # type: ignore[no-untyped-call]
    return out


def _block(num_channels: int) -> int:
    return min(int(triton.next_power_of_2(num_channels)), 128)


def _products(
    x: Tensor, y: Tensor, index: RaggedIndex, *, with_sum: bool = False
) -> tuple[Tensor, Tensor]:
    """Sum x * y of each particle, and y, float32 [N, C]; the second is the first without a sum."""
    num_channels = x.shape[1]
    product = x.new_empty(index.num_particles, num_channels, dtype=torch.float32)
    total = torch.empty_like(product) if with_sum else product
    block = _block(num_channels)
    if index.num_particles:
        _sum_products[(index.num_particles, triton.cdiv(num_channels, block))](
            x, y, product, total, index.offset, num_channels,
            WITH_SUM=with_sum, ROWS=_ROWS, CHANNELS=block,
        )  # fmt: skip
    return product, total


def _combine(x: Tensor, scale: Tensor, y: Tensor | None, add: Tensor, index: RaggedIndex) -> Tensor:
    out = torch.empty_like(x)
    num_rows, num_channels = x.shape
    block = _block(num_channels)
    if num_rows:
        _scale_and_add[(triton.cdiv(num_rows, _ROWS), triton.cdiv(num_channels, block))](
            x, scale, x if y is None else y, add, out, index.particle, num_rows, num_channels,
            WITH_Y=y is not None, ROWS=_ROWS, CHANNELS=block,
        )  # fmt: skip
    return out


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        gamma: Tensor,
        beta: Tensor,
        index: RaggedIndex,
        tiny: float,
        epsilon: float,
    ) -> Tensor:
        x = x.contiguous()
        norm = _products(x, x, index)[0].add_(tiny).sqrt_()
        response = norm / norm.mean(1, keepdim=True).add_(epsilon)
        ctx.index, ctx.epsilon = index, epsilon
        ctx.save_for_backward(x, gamma, norm)
        return _combine(
            x, torch.addcmul(torch.ones_like(gamma), response, gamma), None, beta, index
        )

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None, None, None]:
        x, gamma, norm = ctx.saved_tensors
        grad = grad.contiguous()
        mean = norm.mean(1, keepdim=True).add_(ctx.epsilon)
        response = norm / mean
        grad_scale, upper = _products(x, grad, ctx.index, with_sum=True)
        weighted = grad_scale * response
        # n_c = G_c / mean(G): each norm acts on all channels through the mean.
        grad_response = grad_scale * gamma
        through_mean = (weighted * gamma).mean(1, keepdim=True)
        pull = (grad_response - through_mean) / (mean * norm)
        scale = torch.addcmul(torch.ones_like(gamma), response, gamma)
        grad_x = _combine(grad, scale, x, pull, ctx.index)
        return grad_x, weighted.sum(0), upper.sum(0), None, None, None
