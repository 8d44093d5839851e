"""Contrastive losses on two views of a batch: NT-Xent and its supervised form.

Legend: n particles of this process, N of all processes together, D the width of the projections.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clr_train.runtime.processes import all_gather_rows, all_gather_sizes, sum_over_ranks

__all__ = ["contrastive_loss", "loss_bytes"]

#: Most similarities held at once: a block of anchors has at most this many, anchors x 2N.
_BLOCK_ELEMENTS = 1 << 25


def loss_bytes(num_particles: int) -> int:
    """Estimate the memory that the loss of a batch and its gradient take at most, bytes.

    It is that of six float32 arrays of the similarities of a block, as measured.
    """
    return 6 * 4 * min((2 * num_particles) ** 2, _BLOCK_ELEMENTS)


def contrastive_loss(
    first: Tensor,
    second: Tensor,
    *,
    labels: Tensor | None = None,
    label_weight: float = 1.0,
    temperature: float,
    gather: bool = False,
) -> Tensor:
    """Compute the loss of a batch, float32 []: NT-Xent, or with labels its supervised form.

    For an anchor i with positive j among the 2N projections of both views, NT-Xent is
    ``-log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t))`` with s the cosine similarity, averaged
    over all 2N anchors (Chen et al., arXiv:2002.05709, equation 1). With labels, all rows of the
    class of an anchor are its positives, and its loss is the mean over them (L_out of Khosla et
    al., arXiv:2004.11362, equation 2).

    Parameters
    ----------
    first, second : float tensor [n, D]
        Projections of the two views; row i of both belongs to the same particle. They need not
        be normalised.
    labels : int64 tensor [n], optional
        The class of each particle. With a class below 0, its other view is its only positive.
    label_weight : float
        Share of the supervised loss, 0 to 1; the rest is NT-Xent.
    temperature : float
        The t above, positive.
    gather : bool
        Contrast against the rows of all ranks of the default process group; these may have
        different n. The value is the loss of the joined batch, the same on every rank; its
        gradient on a rank is that of the joined loss with respect to the rank's own rows. So the
        gradients of shared weights must be summed over the ranks, not averaged.

    Raises
    ------
    ValueError
        Shapes that do not match, no rows, or a temperature that is not positive.
    """
    if first.dim() != 2 or first.shape != second.shape or len(first) == 0:
        raise ValueError(
            "first and second must have one shape [n, D] with n > 0, "
            f"got {tuple(first.shape)} and {tuple(second.shape)}"
        )
    if labels is not None and labels.shape != first.shape[:1]:
        raise ValueError(f"labels must have shape {tuple(first.shape[:1])}, got {labels.shape}")
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    # Half precision resolves cosines to 3 digits only, and these are divided by a temperature.
    with torch.autocast(first.device.type, enabled=False):
        own = torch.cat([F.normalize(first.float()), F.normalize(second.float())], dim=1)
        sizes, rank = all_gather_sizes(own) if gather else ([len(own)], 0)
        start = sum(sizes[:rank])
        every = all_gather_rows(own, sizes=sizes)
        # A particle without a class gets its own: its other view is its only positive.
        alone = -1 - torch.arange(len(every), device=own.device)
        labels = alone if labels is None else all_gather_rows(labels.long(), sizes=sizes)
        labels = torch.where(labels < 0, alone, labels)
        position = torch.arange(start, start + len(own), device=own.device)
        total = _sum_in_blocks(
            partial(
                _sum_of_anchors,
                contrast=_stack_views(every),
                labels=labels.repeat(2),
                temperature=temperature,
                label_weight=label_weight,
            ),
            _stack_views(own),
            torch.cat([position, position + len(every)]),
            size=max(1, _BLOCK_ELEMENTS // (2 * len(every))),
        )
        loss: Tensor = (sum_over_ranks(total) if gather else total) / (2 * len(every))
    return loss


def _stack_views(rows: Tensor) -> Tensor:
    """Turn both views side by side, [N, 2D], into one below the other, [2N, D]."""
    return torch.cat(rows.chunk(2, dim=1))


def _sum_in_blocks(
    sum_of: Callable[[Tensor, Tensor], Tensor], anchors: Tensor, position: Tensor, *, size: int
) -> Tensor:
    """Sum the loss of blocks of at most `size` anchors.

    If there are several blocks, they are computed again in the backward pass, so that memory grows
    with the size of a block and not with (2N)^2.
    """
    if size >= len(anchors):
        return sum_of(anchors, position)
    blocks = zip(torch.split(anchors, size), torch.split(position, size), strict=True)
    sums = [
        checkpoint(sum_of, *block, use_reentrant=False, preserve_rng_state=False)
        for block in blocks
    ]
    return torch.stack(sums).sum()


def _sum_of_anchors(
    anchors: Tensor,
    position: Tensor,
    *,
    contrast: Tensor,
    labels: Tensor,
    temperature: float,
    label_weight: float,
) -> Tensor:
    """Sum the loss of anchors [A, D], the rows `position` [A] of `contrast` [2N, D]."""
    similarity = anchors @ contrast.T / temperature  # [A, 2N]
    positive = labels[position, None] == labels
    positive.scatter_(1, position[:, None], False)  # an anchor is not its own positive
    others = similarity.scatter(1, position[:, None], -torch.inf)
    log_denominator = others.logsumexp(dim=1)
    mean_positive = (similarity * positive).sum(dim=1) / positive.sum(dim=1)
    other_view = (position + len(contrast) // 2) % len(contrast)
    own = similarity.gather(1, other_view[:, None]).squeeze(1)
    attraction = torch.lerp(own, mean_positive, label_weight)
    return (log_denominator - attraction).sum()
