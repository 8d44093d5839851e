"""Training the whole network, an encoder with a linear layer, as a classifier.

Fine-tuning starts from the pretrained weights, training from scratch from random ones. All else is
the same, so that the difference is the effect of pretraining.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_eval.config import FitConfig
from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.keys import fold_in, key, permutation
from clr_train.learner import Learner
from clr_train.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from clr_train.views.make import as_sites, make_views
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.species import CLASSES

__all__ = ["Classifier", "num_steps"]

_ORDER: Final = 0x0D3
_PATHS: Final = 0x9A7
#: Number of the view, which differs from those of pretraining with the same seed.
_VIEW: Final = 2
_CLIP_NORM: Final = 1.0
_INFERENCE_BATCH: Final = 256


class Classifier:
    """An encoder and a linear layer.

    Parameters
    ----------
    learner : Learner
        The pretrained encoder; it is copied, not changed.
    pretrained : bool
        Start from its weights; otherwise from random ones, which depend on `seed` only.
    seed : int
        Seed of initial weights, order and views.
    """

    def __init__(self, learner: Learner, *, pretrained: bool, seed: int) -> None:
        self.train_config = dataclasses.replace(learner.config, seed=seed)
        self.device, self.engine, self.precision = learner.device, learner.engine, learner.precision
        self.pretrained, self.seed = pretrained, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(learner.model.encoder.out_features, len(CLASSES))
        if pretrained:
            self.encoder = copy.deepcopy(learner.model.encoder)
        else:
            self.encoder = Learner(self.train_config, device=learner.device).model.encoder
        self.module = nn.ModuleDict({"encoder": self.encoder, "head": self.head}).to(self.device)
        self.class_weights: Tensor | None = None
        self.progress = 0.0  # share of the steps that are done

    def fit(
        self,
        train: ParticleBatch,
        *,
        config: FitConfig,
        on_step: Callable[[int], object] = lambda _step: None,
    ) -> None:
        """Minimise the cross entropy of labelled particles, which are on the CPU.

        The optimizer is AdamW; the learning rate rises linearly and falls along half a cosine.
        `on_step` is called after each step with the number of steps done. A loss that is not
        finite is a `PilarnetError`.
        """
        size = min(config.batch_size, train.num_particles)
        steps_per_epoch = train.num_particles // size
        total = num_steps(train.num_particles, config=config)
        lr = config.finetune_lr if self.pretrained else config.lr
        schedule = dataclasses.replace(self.train_config, lr=lr, lr_decay=None)
        weights = list(self.module.parameters())
        optimizer = make_optimizer(weights, weight_decay=schedule.weight_decay, betas=(0.9, 0.999))
        self.class_weights = None
        if config.class_weight == "balanced":
            self.class_weights = _balanced_weights(train.label).to(self.device)
        self.module.train()
        for step in range(total):
            epoch, position = divmod(step, steps_per_epoch)
            if position == 0:
                order = permutation(train.num_particles, key(self.seed, epoch, _ORDER))
            rows = torch.from_numpy(order[position * size : (position + 1) * size])
            batch = train.take(rows).to(self.device)
            rate = learning_rate(
                step, total_steps=total, epoch_steps=steps_per_epoch, config=schedule
            )
            set_learning_rate(optimizer, rate)
            optimizer.zero_grad(set_to_none=True)
            self.progress = step / total
            loss = self._loss(batch, epoch=epoch, augment=config.augment)
            if not math.isfinite(loss.item()):
                raise PilarnetError(
                    f"the loss of step {step + 1} of training a classifier is not finite",
                    found=loss.item(),
                    advice="try a lower --lr or --finetune-lr, or --precision fp32",
                )
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, _CLIP_NORM)
            optimizer.step()
            on_step(step + 1)
        self.module.eval()

    def _loss(self, batch: ParticleBatch, *, epoch: int, augment: bool) -> Tensor:
        features = self._features(batch, epoch=epoch, augment=augment)
        return self._class_loss(features, batch.label)

    def _features(self, batch: ParticleBatch, *, epoch: int, augment: bool) -> Tensor:
        """Encode particles for training, float32 [N, C]."""
        paths = fold_in(key(self.seed, epoch, _PATHS, device=self.device), batch.particle)
        return self._encode(self._view(batch, epoch) if augment else self._as_sites(batch), paths)

    def _class_loss(self, features: Tensor, label: Tensor) -> Tensor:
        # Not divided by the weights of the batch: a rare class would weigh less in a batch that
        # holds more of it.
        return nn.functional.cross_entropy(
            self.head(features), label, weight=self.class_weights, reduction="none"
        ).mean()

    def predict(self, batch: ParticleBatch) -> NDArray[np.float32]:
        """Predict the probability of each class of particles as stored, float32 [N, classes]."""
        self.module.eval()
        parts = []
        with torch.no_grad():
            for piece in batch.split(_INFERENCE_BATCH):
                sites = self._as_sites(piece.to(self.device))
                logits = self.head(self._encode(sites, None))
                parts.append(logits.softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Return the weights, float32 arrays by name."""
        return {name: value.cpu().numpy() for name, value in self.module.state_dict().items()}

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Set the weights to those that `weights` gave; other arrays are ignored."""
        names = self.module.state_dict()
        self.module.load_state_dict({name: torch.from_numpy(weights[name]) for name in names})

    def _encode(self, sites: SiteBatch, paths: Tensor | None) -> Tensor:
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            features: Tensor = self.encoder(sites, self.engine, paths)
        return features.float()

    def _view(self, batch: ParticleBatch, epoch: int) -> SiteBatch:
        return make_views(batch, seed=self.seed, epoch=epoch, view=_VIEW, config=self.train_config)

    def _as_sites(self, batch: ParticleBatch) -> SiteBatch:
        return as_sites(batch, energy_transform=self.train_config.energy_transform)


def num_steps(num_particles: int, *, config: FitConfig) -> int:
    """Return the number of training steps on this number of particles."""
    size = min(config.batch_size, num_particles)
    return max(config.epochs * (num_particles // size), config.min_steps)


def _balanced_weights(label: Tensor) -> Tensor:
    """Return weights with which all classes that occur count the same, float32 [classes]."""
    shares = torch.bincount(label, minlength=len(CLASSES)) / len(label)
    return torch.where(shares > 0, 1 / (torch.count_nonzero(shares) * shares), 0.0)
