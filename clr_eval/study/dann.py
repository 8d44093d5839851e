"""A domain-adversarial classifier (DANN): its features separate classes, but not domains.

Ganin et al., "Domain-adversarial training of neural networks", arXiv:1505.07818. A second head
learns to tell labelled particles from those of the target; its gradient is reversed before it
reaches the encoder.
"""

from __future__ import annotations

import math
from typing import Any, Final

import numpy as np
import torch
from torch import Tensor, nn

from clr_eval.finetune import Classifier
from clr_train.batch import ParticleBatch
from clr_train.keys import key, permutation
from clr_train.learner import Learner

__all__ = ["DomainAdversarialClassifier", "reverse_gradient"]

_TARGET_ORDER: Final = 0x7A6
#: How fast the strength rises with the steps, as in the paper.
_RISE: Final = 10.0


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, alpha: float) -> Tensor:
        ctx.alpha = alpha
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:
        return -ctx.alpha * grad, None


def reverse_gradient(x: Tensor, *, alpha: float) -> Tensor:
    """Return `x`, whose gradient will be multiplied by ``-alpha``."""
    out: Tensor = _Reversal.apply(x, alpha)  # type: ignore[no-untyped-call]
    return out


class DomainAdversarialClassifier(Classifier):
    """A classifier trained from random weights, against a head that tells the domains apart.

    Parameters
    ----------
    learner : Learner
        Gives the shape of the encoder, and the views.
    target : ParticleBatch
        Particles of the other domain, on the CPU; their labels are not used.
    alpha : float
        Strength of the reversed gradient at the end of the training; it rises from 0.
    seed : int
        Seed of initial weights, order and views.
    """

    def __init__(self, learner: Learner, *, target: ParticleBatch, alpha: float, seed: int) -> None:
        super().__init__(learner, pretrained=False, seed=seed)
        self.target, self.alpha = target, alpha
        width = self.head.in_features
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed + 1)
            self.domain_head = nn.Sequential(
                nn.Linear(width, width), nn.GELU(), nn.Linear(width, 1)
            ).to(self.device)
        self.module["domain"] = self.domain_head
        self._step = 0

    def _loss(self, batch: ParticleBatch, *, epoch: int, augment: bool) -> Tensor:
        features = self._features(batch, epoch=epoch, augment=augment)
        others = self._next_target(batch.num_particles).to(self.device)
        target = self._features(others, epoch=epoch, augment=augment)
        alpha = self.alpha * (2.0 / (1.0 + math.exp(-_RISE * self.progress)) - 1.0)
        loss = self._class_loss(features, batch.label)
        return loss + self._domain_loss(features, target, alpha=alpha)

    def _domain_loss(self, source: Tensor, target: Tensor, *, alpha: float) -> Tensor:
        """Compute the cross entropy of telling `source` (0) from `target` (1), float32 []."""
        both = reverse_gradient(torch.cat([source, target]), alpha=alpha)
        is_target = torch.cat([source.new_zeros(len(source)), target.new_ones(len(target))])
        logits = self.domain_head(both).squeeze(1)
        return nn.functional.binary_cross_entropy_with_logits(logits, is_target)

    def _next_target(self, count: int) -> ParticleBatch:
        """Take the next particles of the target, in a new order in each pass over them."""
        number = self.target.num_particles
        rows = np.arange(self._step, self._step + count)
        self._step += count
        picked = np.empty(count, np.int64)
        for epoch in np.unique(rows // number):
            order = permutation(number, key(self.seed, int(epoch), _TARGET_ORDER))
            now = rows // number == epoch
            picked[now] = order[rows[now] % number]
        return self.target.take(torch.from_numpy(picked))
