"""Contrastive losses on two views of a batch: NT-Xent and its supervised form.

Shape legend: n particles of this process, N particles of all processes together (n = N in a
single process), D the width of the projections.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint

from clr_train.runtime.processes import (
    gather_rows,
    gather_sizes,
    get_rank,
    is_distributed,
    sum_over_ranks,
)

__all__ = ["nt_xent", "supervised_contrastive"]

#: Similarities held at once: a block of anchors is cut so that anchors x 2N stays below this.
_BLOCK_ELEMENTS = 1 << 25


def nt_xent(first: Tensor, second: Tensor, *, temperature: float, gather: bool = False) -> Tensor:
    """Compute the normalised temperature-scaled cross entropy of SimCLR.

    For an anchor i with positive j among the 2N projections of both views,
    ``-log(exp(s_ij / t) / sum_{k != i} exp(s_ik / t))`` with s the cosine similarity, averaged
    over all 2N anchors (Chen et al., arXiv:2002.05709, equation 1).

    Parameters
    ----------
    first, second : float tensor [n, D]
        Projections of the two views; row i of both belongs to the same particle. They need not
        be normalised. Any floating dtype; the loss is computed in float32.
    temperature : float
        The t above, positive.
    gather : bool
        Contrast against the rows of all ranks of the default process group. The value is the
        loss of the joined batch, the same on every rank; its gradient on a rank is that of the
        joined loss with respect to the rank's own rows. The gradients of shared weights must
        therefore be summed, not averaged, over the ranks. Ranks may hold different n.

    Returns
    -------
    float32 tensor []

    Raises
    ------
    ValueError
        Shapes that do not match, no rows, or a temperature that is not positive.
    """
    group = torch.arange(len(first), device=first.device)
    return _contrast(first, second, group, temperature=temperature, gather=gather, own_pairs=True)


def supervised_contrastive(
    first: Tensor, second: Tensor, *, labels: Tensor, temperature: float, gather: bool = False
) -> Tensor:
    """Compute the supervised contrastive loss: all rows of the same class are positives.

    The form L_out of Khosla et al., arXiv:2004.11362, equation 2, averaged over the 2N anchors:
    the logarithm is taken of each positive, then averaged over the positives of the anchor.

    Parameters
    ----------
    first, second : float tensor [n, D]
        As in `nt_xent`.
    labels : int64 tensor [n]
        The class of each particle.
    temperature, gather
        As in `nt_xent`.

    Returns
    -------
    float32 tensor []

    Raises
    ------
    ValueError
        As in `nt_xent`, or labels of another length.
    """
    if labels.shape != first.shape[:1]:
        raise ValueError(f"labels must have shape {tuple(first.shape[:1])}, got {labels.shape}")
    return _contrast(
        first, second, labels.long(), temperature=temperature, gather=gather, own_pairs=False
    )


def _contrast(
    first_nd: Tensor,
    second_nd: Tensor,
    group_n: Tensor,
    *,
    temperature: float,
    gather: bool,
    own_pairs: bool,
) -> Tensor:
    """Average the loss of all anchors, the positives of an anchor being the rows of its group."""
    if first_nd.dim() != 2 or first_nd.shape != second_nd.shape or len(first_nd) == 0:
        raise ValueError(
            "first and second must have one shape [n, D] with n > 0, "
            f"got {tuple(first_nd.shape)} and {tuple(second_nd.shape)}"
        )
    if not temperature > 0:
        raise ValueError(f"temperature must be positive, got {temperature}")
    # Half precision resolves cosines to 3 digits only, and these are divided by a temperature.
    with torch.autocast(first_nd.device.type, enabled=False):
        normalize = torch.nn.functional.normalize
        own = torch.cat([normalize(first_nd.float()), normalize(second_nd.float())], dim=1)
        if gather and is_distributed():
            sizes = gather_sizes(own)
            every = gather_rows(own, sizes=sizes)
            start = sum(sizes[: get_rank()])
            # A particle is its own group; labels are shared between the ranks.
            every_group = (
                torch.arange(sum(sizes), device=own.device)
                if own_pairs
                else gather_rows(group_n, sizes=sizes)
            )
        else:
            every, every_group, start = own, group_n, 0
        contrast_2nd = torch.cat(every.chunk(2, dim=1))  # [2N, D]
        position = torch.arange(start, start + len(own), device=own.device)
        position = torch.cat([position, position + len(every)])
        total = _sum_of_anchors(
            torch.cat(own.chunk(2, dim=1)),
            position,
            contrast_2nd,
            every_group.repeat(2),
            temperature=temperature,
        )
        if gather and is_distributed():
            total = sum_over_ranks(total)
        loss: Tensor = total / len(contrast_2nd)
    return loss


def _sum_of_anchors(
    anchors: Tensor, position: Tensor, contrast: Tensor, group: Tensor, *, temperature: float
) -> Tensor:
    """Sum the loss of the anchors, block after block.

    More than one block is recomputed in the backward pass, so that memory grows with the size
    of a block and not with (2N)^2.
    """
    rows = max(1, _BLOCK_ELEMENTS // len(contrast))
    if rows >= len(anchors):
        return _block(anchors, position, contrast, group, temperature)
    total = anchors.new_zeros(())
    for begin in range(0, len(anchors), rows):
        block = slice(begin, begin + rows)
        total = total + checkpoint(
            _block,
            anchors[block],
            position[block],
            contrast,
            group,
            temperature,
            use_reentrant=False,
            preserve_rng_state=False,
        )
    return total


def _block(
    anchors: Tensor, position: Tensor, contrast: Tensor, group: Tensor, temperature: float
) -> Tensor:
    similarity = anchors @ contrast.T / temperature  # [anchors, 2N]
    positive = group[position, None] == group
    positive.scatter_(1, position[:, None], False)  # an anchor is no positive of its own
    others = similarity.scatter(1, position[:, None], -torch.inf)
    log_denominator = others.logsumexp(dim=1)
    mean_positive = (similarity * positive).sum(dim=1) / positive.sum(dim=1)
    return (log_denominator - mean_positive).sum()
