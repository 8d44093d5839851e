"""The network with its engine, device, precision and views."""

from __future__ import annotations

import dataclasses
import os
from typing import Any, Final

import torch
from torch import Tensor

from clr_train.batch import ParticleBatch
from clr_train.config import SHAPE_OPTIONS, TrainConfig
from clr_train.keys import fold_in, key
from clr_train.loss import contrastive_loss
from clr_train.network.encoder import ContrastiveModel, evaluating
from clr_train.network.models import MODELS, EncoderConfig
from clr_train.runtime.kernels import has_triton
from clr_train.sparse import get_engine
from clr_train.views.make import as_sites, make_views
from pilarnet_convert.options import OptionError

__all__ = ["Learner"]

#: Drop path uses other random keys than views.
_PATHS: Final = 1 << 20


class Learner:
    """An encoder with a projection head, for training and for computing features.

    The initial weights depend only on the seed. A PilarnetError is raised if the model, engine or
    augmentation is unknown, or the engine is not installed.

    Attributes
    ----------
    model : ContrastiveModel
        The encoder and the projection head.
    engine : Engine
        Computes the sparse operations.
    precision : {"fp32", "bf16"}
        The type in which the network computes: float32, or bfloat16 by autocast.
    """

    def __init__(self, config: TrainConfig, *, device: torch.device | str) -> None:
        self.config = config
        self.device = device = torch.device(device)
        # oneDNN keeps what it compiles for each shape, by default for 1,024 of them, and every
        # batch has others: gigabytes after some hundred steps. Fewer than 16 make a step slower.
        # oneDNN reads the variable at its first use.
        os.environ.setdefault("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "16")
        self.engine = get_engine(config.engine, device)
        self.precision = _pick_precision(config.precision, device)
        with torch.random.fork_rng(devices=[]):
            # Not torch.manual_seed, which seeds the GPUs too.
            torch.default_generator.manual_seed(config.seed)
            self.model = ContrastiveModel(_encoder_config(config))
        self.model.to(device)

    def __repr__(self) -> str:
        size = sum(parameter.numel() for parameter in self.model.encoder.parameters())
        return (
            f"<Learner {self.config.model}: encoder of {size / 1e6:.1f} million parameters, "
            f"{self.model.encoder.out_features} features; {self.device}, engine "
            f"{self.engine.name}, {self.precision}>"
        )

    def project(self, batch: ParticleBatch, *, epoch: int) -> Tensor:
        """Embed two views of each of N particles: float [2, N, D], not normalised.

        Views, and the paths that are dropped in training, are keyed by seed, epoch, particle and
        view: they are the same in any batch and on any process.
        """
        batch = batch.to(self.device)
        seed = self.config.seed
        sites = make_views(batch, seed=seed, epoch=epoch, view=0, count=2, config=self.config)
        keys = [
            fold_in(key(seed, epoch, _PATHS + view, device=self.device), batch.particle)
            for view in (0, 1)
        ]
        with self._autocast():
            _, projection = self.model(sites, self.engine, torch.cat(keys))
        halves: Tensor = projection.view(2, batch.num_particles, -1)
        return halves

    def represent(self, batch: ParticleBatch, *, projected: bool = False) -> Tensor:
        """Compute the features of particles, without augmentation or gradient, float32 [N, C].

        With `projected`, they are the output of the projection head, which the loss compares.
        """
        sites = as_sites(batch.to(self.device), energy_transform=self.config.energy_transform)
        with evaluating(self.model), self._autocast():
            features: Tensor = self.model.encoder(sites, self.engine)
            if projected:
                features = self.model.head(features)
        return features.float()

    def loss(self, first: Tensor, second: Tensor, label: Tensor, *, gather: bool = True) -> Tensor:
        """Compute the loss of projections [N, D] of two views, by default over all processes."""
        return contrastive_loss(
            first,
            second,
            labels=label if self.config.loss == "supervised" else None,
            label_weight=self.config.label_weight,
            temperature=self.config.temperature,
            gather=gather,
        )

    def _autocast(self) -> torch.autocast:
        return torch.autocast(
            self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16"
        )

    @property
    def device_facts(self) -> str:
        """The device and how it is used, in words."""
        gpu = self.device.type == "cuda"
        name = f" ({torch.cuda.get_device_name(self.device)})" if gpu else ""
        threads = "" if gpu else f", {torch.get_num_threads()} threads"
        plain = " without Triton" if gpu and not has_triton() else ""
        return f"{self.device}{name}{threads}, engine {self.engine.name}{plain}, {self.precision}"

    def describe(self) -> dict[str, Any]:
        """Return the sizes of the encoder, for a checkpoint."""
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in dataclasses.asdict(self.model.encoder.config).items()
        }


def _pick_precision(name: str, device: torch.device) -> str:
    """Return "fp32" or "bf16"; an OptionError is raised if the GPU does not compute in bf16."""
    if device.type != "cuda":
        return "fp32" if name == "auto" else name
    has_bf16 = torch.cuda.get_device_capability(device) >= (8, 0)
    if name == "auto":
        return "bf16" if has_bf16 else "fp32"
    if name == "bf16" and not has_bf16:
        raise OptionError(
            "the GPU does not compute in bf16",
            field="--precision",
            expected="a GPU of compute capability 8.0 or more",
            found=torch.cuda.get_device_name(device),
            advice="use --precision fp32",
        )
    return name


def _encoder_config(config: TrainConfig) -> EncoderConfig:
    """Return the sizes of the encoder of a run."""
    if config.model not in MODELS:
        raise OptionError(
            "unknown model",
            field="--model",
            expected="one of " + ", ".join(MODELS),
            found=config.model,
        )
    chosen = {name: value for name in SHAPE_OPTIONS if (value := getattr(config, name)) is not None}
    return dataclasses.replace(MODELS[config.model], **chosen)
