"""The gradients of the loss of a batch, computed in pieces where memory is short."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch

__all__ = ["backpropagate"]

#: Computes the projections [2, n, D] of both views of the particles of a batch.
Project = Callable[[ParticleBatch], Tensor]
#: Computes the loss of the projections [N, D] of two views and the labels [N].
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def backpropagate(
    batch: ParticleBatch, *, project: Project, loss: Loss, micro_batch_size: int | None
) -> Tensor:
    """Add the gradients of the loss of a batch to those of the weights; return the loss.

    A batch larger than `micro_batch_size` is embedded in pieces without a graph; the loss is
    differentiated with respect to these embeddings; then each piece is embedded again and its part
    of the gradient is propagated to the weights. The memory is that of one piece, and the
    gradients are those of the whole batch (Gao et al., arXiv:2101.06983).

    Parameters
    ----------
    batch : ParticleBatch
        On the device of the model.
    project : callable
        Embeds the particles of a batch, each independently of the others, the same way each time:
        with the same views and the same dropped paths.
    loss : callable
        The contrastive loss of the whole batch.
    micro_batch_size : int or None
        Particles embedded at once; None for all.
    """
    pieces = list(batch.split(micro_batch_size or batch.num_particles))
    if len(pieces) == 1:
        first, second = project(batch).unbind()
        value = loss(first, second, batch.label)
        value.backward()  # type: ignore[no-untyped-call]
        return value.detach()
    with torch.no_grad():
        cached = torch.cat([project(piece) for piece in pieces], dim=1)
    cached.requires_grad_()
    first, second = cached.unbind()
    value = loss(first, second, batch.label)
    (gradient,) = torch.autograd.grad(value, cached)
    parts = torch.split(gradient, [piece.num_particles for piece in pieces], dim=1)
    for piece, part in zip(pieces, parts, strict=True):
        torch.autograd.backward(project(piece), part)
    return value.detach()
