"""Global response normalisation of each particle by itself, in one pass over the features.

Legend: M sites, N particles, C channels.

The widest tensors of the network pass here. The batch is worked off in pieces of whole particles
that fit the cache, and only the input and the norms are kept for the gradient.
"""

from __future__ import annotations

from typing import Any, Final

import torch
from torch import Tensor

from clr_train.ragged import Piece, RaggedIndex

__all__ = ["EPSILON", "TINY", "particle_response_norm"]

#: Added to the mean norm, as published.
EPSILON: Final = 1e-6
#: Added under the root, which has no gradient at zero, where a dead channel lies.
TINY: Final = 1e-12
_PIECE_ELEMENTS: Final = 200_000


def particle_response_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, index: RaggedIndex) -> Tensor:
    """Return x + gamma * n * x + beta, where n is the particle's norm of a channel over their mean.

    Parameters
    ----------
    x : Tensor, float [M, C]
        Features.
    gamma, beta : Tensor, float32 [C]
        Weights.
    index : RaggedIndex
        Which rows belong to which particle.

    Returns
    -------
    Tensor, [M, C]
        In the type of `x`; norms are formed in float32 at least.
    """
    out: Tensor = _ResponseNorm.apply(x, gamma, beta, index)  # type: ignore[no-untyped-call]
    return out


def _pieces(x: Tensor, index: RaggedIndex) -> list[Piece]:
    return index.pieces(max(_PIECE_ELEMENTS // max(x.shape[1], 1), 1))


class _ResponseNorm(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, gamma: Tensor, beta: Tensor, index: RaggedIndex) -> Tensor:
        wide = torch.promote_types(x.dtype, gamma.dtype)
        norm = x.new_empty(index.num_particles, x.shape[1], dtype=wide)
        out = torch.empty_like(x)
        for piece in _pieces(x, index):
            rows = x[piece.rows]
            size = piece.index.sum(rows.to(wide).square()).add_(TINY).sqrt_()
            norm[piece.particles] = size
            response = size / (size.mean(1, keepdim=True) + EPSILON)
            scale = piece.index.broadcast(response.mul_(gamma).add_(1.0).to(x.dtype))
            torch.addcmul(beta.to(x.dtype), rows, scale, out=out[piece.rows])
        ctx.index = index
        ctx.save_for_backward(x, gamma, norm)
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, Tensor, Tensor, None]:
        x, gamma, norm = ctx.saved_tensors
        grad = grad.contiguous()
        grad_x = torch.empty_like(x)
        grad_gamma, grad_beta = torch.zeros_like(gamma), torch.zeros_like(gamma)
        for piece in _pieces(x, ctx.index):
            rows, upper, size = x[piece.rows], grad[piece.rows], norm[piece.particles]
            mean = size.mean(1, keepdim=True) + EPSILON
            response = size / mean
            grad_scale = piece.index.sum(rows.to(norm.dtype) * upper)
            grad_gamma += (grad_scale * response).sum(0)
            grad_beta += upper.sum(0, dtype=norm.dtype)
            # n_c = G_c / mean(G): each norm also acts on all channels through the mean.
            grad_response = grad_scale * gamma
            through_mean = (grad_response * response).mean(1, keepdim=True)
            pull = (grad_response - through_mean) / (mean * size)
            scale = piece.index.broadcast((1.0 + gamma * response).to(x.dtype))
            pull = piece.index.broadcast(pull.to(x.dtype))
            torch.mul(upper, scale, out=grad_x[piece.rows])
            grad_x[piece.rows].addcmul_(rows, pull)
        return grad_x, grad_gamma, grad_beta, None
