"""One step of pretraining: the loss's gradients, in pieces if need be, and the learning rate."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import Tensor, nn

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig

__all__ = ["backpropagate", "learning_rate", "parameter_groups", "split_batch"]

#: Peak learning rate of a run that names none. For the sizes listed it was found by trial; for
#: the others it is one at which AdamW trains networks of this kind safely.
_PEAK_RATE: Final = 1e-3
_PEAK_RATES: Final[Mapping[str, float]] = MappingProxyType({"atto": 1e-2})

#: Gives the projections [2, n, D] of both views of the particles of a batch.
Project = Callable[[ParticleBatch], Tensor]
#: Gives the loss of two views' projections [N, D], and labels [N].
Loss = Callable[[Tensor, Tensor, Tensor], Tensor]


def backpropagate(
    batch: ParticleBatch, *, project: Project, loss: Loss, micro_batch_size: int | None
) -> Tensor:
    """Add the gradients of the batch's loss to those of the weights.

    A batch larger than `micro_batch_size` is embedded in pieces without remembering anything;
    the loss is differentiated by the cached embeddings; then each piece is embedded again and
    its part of that gradient carried on to the weights. Memory is that of a piece, and the
    gradients are those of the whole batch (Gao et al., arXiv:2101.06983), as every piece draws
    the same views and drops the same paths both times.

    Parameters
    ----------
    batch : ParticleBatch
        On the device of the model.
    project : callable
        Embeds the particles of a batch, each independently of the others, the same way each time.
    loss : callable
        The contrastive loss of the whole batch.
    micro_batch_size : int or None
        Particles embedded at once; None for all.

    Returns
    -------
    float32 tensor []
        The loss.
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
    begin = 0
    for piece in pieces:
        end = begin + piece.num_particles
        torch.autograd.backward(project(piece), gradient[:, begin:end])
        begin = end
    return value.detach()


def split_batch(batch: ParticleBatch, *, size: int) -> Iterator[ParticleBatch]:
    """Cut a batch into pieces of at most `size` particles, in order."""
    return batch.split(size)


def learning_rate(step: int, *, total_steps: int, config: TrainConfig) -> float:
    """Compute the rate of a step: a linear rise, then half a cosine down.

    Parameters
    ----------
    step : int
        From 0 to ``total_steps - 1``.
    total_steps : int
        Steps of the whole run.
    config : TrainConfig
        ``lr``, or what suits ``model``, is the peak, reached at the end of the share ``warmup`` of
        the steps; the last step is near ``final_lr`` times it.

    Returns
    -------
    float
    """
    peak = _PEAK_RATES.get(config.model, _PEAK_RATE) if config.lr is None else config.lr
    rising = round(config.warmup * total_steps)
    if step < rising:
        return peak * (step + 1) / rising
    progress = (step - rising) / max(1, total_steps - rising)
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return peak * (config.final_lr + (1 - config.final_lr) * cosine)


def parameter_groups(
    parameters: Iterable[nn.Parameter], *, weight_decay: float
) -> list[dict[str, object]]:
    """Sort weights into those that decay and those that do not.

    Norms, biases and scales are vectors, whatever singleton axes they are stored with; a decay
    would pull them towards a value that means nothing.
    """
    decayed: list[nn.Parameter] = []
    kept: list[nn.Parameter] = []
    for parameter in parameters:
        (decayed if parameter.squeeze().dim() > 1 else kept).append(parameter)
    return [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": kept, "weight_decay": 0.0},
    ]
