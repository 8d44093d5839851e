"""A pretrained encoder with all that it needs to compute features."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from clr_train.batch import ParticleBatch
from clr_train.network.encoder import SparseConvNeXt, evaluating
from clr_train.network.models import EncoderConfig
from clr_train.sparse import get_engine
from clr_train.views.make import as_sites

__all__ = ["Encoder"]


class Encoder(nn.Module):
    """A network from particles to features; it trains like any other module.

    Parameters
    ----------
    config : EncoderConfig
        The shape of the network.
    energy_transform : str
        A name from `clr_train.views.energy.ENERGY_TRANSFORMS`.
    about : mapping
        What is known of the encoder: the contents of its ``config.json``.
    engine : str
        The sparse engine, "auto", "torch" or "minkowski".
    """

    def __init__(
        self,
        config: EncoderConfig,
        *,
        energy_transform: str,
        about: Mapping[str, Any],
        engine: str = "auto",
    ) -> None:
        super().__init__()
        self.network = SparseConvNeXt(config)
        self.energy_transform = energy_transform
        self.about = about
        self.engine = engine

    @property
    def out_features(self) -> int:
        """The number of features of a particle, C."""
        return self.network.out_features

    @property
    def device(self) -> torch.device:
        """The device of the weights."""
        return next(self.parameters()).device

    def forward(self, batch: ParticleBatch, keys: Tensor | None = None) -> Tensor:
        """Compute the features of N particles, float [N, C].

        `keys`, int64 [N], are needed to train an encoder with drop path, see
        `SparseConvNeXt.forward`.
        """
        sites = as_sites(batch.to(self.device), energy_transform=self.energy_transform)
        features: Tensor = self.network(sites, get_engine(self.engine, self.device), keys)
        return features

    def represent(self, batch: ParticleBatch) -> Tensor:
        """Compute features without gradients and without dropped paths, float32 [N, C]."""
        with evaluating(self):
            features: Tensor = self(batch)
        return features.float()

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.parameters())
        return (
            f"<Encoder {self.network.config.name}: {size / 1e6:.1f} million parameters, "
            f"{self.out_features} features>"
        )
