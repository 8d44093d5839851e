"""Global response normalisation (GRN), of each particle by itself or of a whole batch.

Legend: M sites, N particles, C channels.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias

import torch
from torch import Tensor, nn

from clr_train.ragged import Piece, RaggedIndex
from clr_train.runtime.kernels import runs_triton

if TYPE_CHECKING:
    from clr_train.sparse import SparseTensor

__all__ = ["EPSILON", "TINY", "GlobalResponseNorm", "GrnSpan", "plain_response_norm"]

GrnSpan: TypeAlias = Literal["particle", "batch"]

#: Added to the mean norm, as published.
EPSILON: Final = 1e-6
#: Added under the root, whose derivative is infinite at 0, as where a channel is 0 at all sites.
TINY: Final = 1e-12
#: Elements of a piece of a batch that fits the cache.
_PIECE_ELEMENTS: Final = 200_000


class GlobalResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, arXiv:2301.00808, equations 1 to 4).

    With G_c the L2 norm of channel c over the sites, and n_c = G_c / (mean of G over the channels),
    a feature becomes x_c + gamma_c * n_c * x_c + beta_c. Norms are formed in float32 at least.

    Parameters
    ----------
    channels : int
        C.
    over : {"particle", "batch"}
        Whether G is taken over the sites of each particle, or of the whole batch, as published.
    """

    def __init__(self, channels: int, *, over: GrnSpan) -> None:
        super().__init__()
        self.over = over
        self.gamma = nn.Parameter(torch.zeros(channels))
        self.beta = nn.Parameter(torch.zeros(channels))

    def forward(self, x: Tensor, *, of: SparseTensor) -> Tensor:
        """Normalise features, float [M, C], on the sites of `of`."""
        if self.over == "particle":
            if runs_triton(x) and of.index.is_sorted:
                from clr_train.network import triton_response_norm  # imports Triton

                return triton_response_norm.response_norm(
                    x, self.gamma, self.beta, of.index, tiny=TINY, epsilon=EPSILON
                )
            return plain_response_norm(x, self.gamma, self.beta, of.index)
        norm = (x.float().square().sum(0, keepdim=True) + TINY).sqrt()
        scale = 1.0 + self.gamma * norm / (norm.mean(1, keepdim=True) + EPSILON)
        return torch.addcmul(self.beta.to(x.dtype), x, scale.to(x.dtype))


def _pieces(x: Tensor, index: RaggedIndex) -> list[Piece]:
    return index.pieces(max(_PIECE_ELEMENTS // max(x.shape[1], 1), 1))


def plain_response_norm(x: Tensor, gamma: Tensor, beta: Tensor, index: RaggedIndex) -> Tensor:
    """Normalise features [M, C] of each particle in plain torch operations; weights are [C]."""
    out: Tensor = _ResponseNorm.apply(x, gamma, beta, index)  # type: ignore[no-untyped-call]
    return out


class _ResponseNorm(torch.autograd.Function):
    """GRN of each particle.

    The widest tensors of the network pass here. So the batch is processed in pieces of whole
    particles that fit the cache, and only the input and the norms are kept for the gradient.
    """

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
            # n_c = G_c / mean(G): each norm acts on all channels through the mean.
            grad_response = grad_scale * gamma
            through_mean = (grad_response * response).mean(1, keepdim=True)
            pull = (grad_response - through_mean) / (mean * size)
            scale = piece.index.broadcast((1.0 + gamma * response).to(x.dtype))
            pull = piece.index.broadcast(pull.to(x.dtype))
            torch.mul(upper, scale, out=grad_x[piece.rows])
            grad_x[piece.rows].addcmul_(rows, pull)
        return grad_x, grad_gamma, grad_beta, None
