"""AdamW, the weights that it decays, and its learning rate."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

import torch
from torch import nn

from clr_train.config import TrainConfig

__all__ = ["learning_rate", "make_optimizer", "set_learning_rate"]

#: Peak learning rate of a run without ``lr``, and of the model sizes for which it was tuned.
_PEAK_RATE: Final = 1e-3
_PEAK_RATES: Final[Mapping[str, float]] = MappingProxyType({"atto": 1e-2, "zepto": 1e-2})


def make_optimizer(
    parameters: Iterable[nn.Parameter],
    *,
    weight_decay: float,
    betas: tuple[float, float] = (0.9, 0.95),
) -> torch.optim.AdamW:
    """Make an AdamW optimizer.

    Parameters with at most one axis longer than 1 (norms, biases, scales) do not decay: nothing
    says that they should be near zero.
    """
    weights = list(parameters)
    decayed = [p for p in weights if p.squeeze().dim() > 1]
    others = [p for p in weights if p.squeeze().dim() <= 1]
    groups = [
        {"params": decayed, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    # On a GPU one kernel in place of a dozen for each group of a few weights.
    fused = True if any(p.is_cuda for p in weights) else None
    return torch.optim.AdamW(groups, betas=betas, fused=fused)


def learning_rate(step: int, *, total_steps: int, epoch_steps: int, config: TrainConfig) -> float:
    """Compute the learning rate of a step, 0 to ``total_steps - 1``: a linear rise, then a cosine.

    The peak, ``config.lr`` or the default of ``config.model``, is reached after the share
    ``config.warmup`` of the steps; the last step is near ``config.final_lr`` times the peak, and
    later steps keep that rate. With ``config.lr_decay`` the rate falls by this factor after each
    epoch of ``epoch_steps`` steps instead, and stays at that of the last step.
    """
    peak = _PEAK_RATES.get(config.model, _PEAK_RATE) if config.lr is None else config.lr
    rising = round(config.warmup * total_steps)
    if step < rising:
        return peak * (step + 1) / rising
    if config.lr_decay is not None:
        return peak * config.lr_decay ** (min(step, total_steps - 1) // epoch_steps)
    progress = min(1.0, (step - rising) / max(1, total_steps - rising))
    cosine = (1 + math.cos(math.pi * progress)) / 2
    return peak * (config.final_lr + (1 - config.final_lr) * cosine)


def set_learning_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all parameter groups."""
    for group in optimizer.param_groups:
        group["lr"] = rate
