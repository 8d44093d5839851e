"""The whole network as a classifier: the encoder with a linear layer, from two beginnings.

Fine-tuning begins at the pretrained weights, training from scratch at fresh ones; all else is the
same for both, so that what differs is what pretraining is worth.
"""

from __future__ import annotations

import copy
import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from clr_train.batch import ParticleBatch, VoxelBatch
from clr_train.keys import fold_in, key, permutation
from clr_train.learner import Learner
from clr_train.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from clr_train.views.make import ViewConfig, plain, views
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.species import CLASSES

__all__ = ["Classifier", "FitOptions", "num_steps"]

_ORDER: Final = 0x0D3
_PATHS: Final = 0x9A7
#: Tells the views of classification from those of pretraining with the same seed.
_VIEW: Final = 2
_CLIP_NORM: Final = 1.0
_INFERENCE_BATCH: Final = 256


@dataclass(frozen=True, kw_only=True)
class FitOptions:
    """How a network is trained to classify.

    Parameters
    ----------
    epochs : int
        Passes over the labelled particles.
    min_steps : int
        Make more passes where these are fewer steps, as with few labels.
    batch_size : int
    lr : float
        Peak learning rate of AdamW.
    augment : bool
        See a fresh view of each particle in each epoch, drawn as in pretraining; else the
        particles as they are.
    class_weight : str
        A name of `clr_eval.methods.CLASS_WEIGHTS`.
    """

    epochs: int
    min_steps: int
    batch_size: int
    lr: float
    augment: bool
    class_weight: str


class Classifier:
    """An encoder and a linear layer, with what they need around them.

    Parameters
    ----------
    learner : Learner
        The pretrained encoder; it is copied, not changed.
    pretrained : bool
        Begin at its weights; else at fresh ones, which depend on `seed` alone.
    seed : int
        Of fresh weights, order and views.
    """

    def __init__(self, learner: Learner, *, pretrained: bool, seed: int) -> None:
        config = dataclasses.replace(learner.config, seed=seed)
        self.device, self.engine, self.precision = learner.device, learner.engine, learner.precision
        self.config, self.seed = config, seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = nn.Linear(learner.model.encoder.out_features, len(CLASSES))
        if pretrained:
            self.encoder = copy.deepcopy(learner.model.encoder)
        else:
            self.encoder = Learner(config, device=learner.device).model.encoder
        self.module = nn.ModuleDict({"encoder": self.encoder, "head": self.head}).to(self.device)

    def fit(
        self,
        train: ParticleBatch,
        *,
        options: FitOptions,
        advance: Callable[[int], object] = lambda _steps: None,
    ) -> None:
        """Minimise the cross entropy of labelled particles: AdamW, a rise and half a cosine.

        Parameters
        ----------
        train : ParticleBatch
            N labelled particles, on the CPU.
        options : FitOptions
        advance : callable
            Told the number of steps done since it was last called.

        Raises
        ------
        PilarnetError
            A loss that is not finite.
        """
        size = min(options.batch_size, train.num_particles)
        per_epoch = train.num_particles // size
        total = num_steps(train.num_particles, options=options)
        schedule = dataclasses.replace(self.config, lr=options.lr)
        weights = list(self.module.parameters())
        optimizer = make_optimizer(weights, weight_decay=schedule.weight_decay, betas=(0.9, 0.999))
        class_weights = None
        if options.class_weight == "balanced":
            shares = torch.bincount(train.label, minlength=len(CLASSES)) / train.num_particles
            seen = torch.count_nonzero(shares)
            class_weights = torch.where(shares > 0, 1 / (seen * shares), 0.0).to(self.device)
        self.module.train()
        for step in range(total):
            epoch, place = divmod(step, per_epoch)
            if place == 0:
                order = permutation(train.num_particles, key(self.seed, epoch, _ORDER))
            rows = torch.from_numpy(order[place * size : (place + 1) * size])
            batch = train.take(rows).to(self.device)
            set_learning_rate(optimizer, learning_rate(step, total_steps=total, config=schedule))
            optimizer.zero_grad(set_to_none=True)
            paths = fold_in(key(self.seed, epoch, _PATHS, device=self.device), batch.particle)
            logits = self._logits(self._view(batch, epoch, options), paths)
            # The mean of weighted losses: divided by the batch's weights, rare classes would weigh
            # less in a batch that holds more of them.
            losses = nn.functional.cross_entropy(
                logits, batch.label, weight=class_weights, reduction="none"
            )
            loss = losses.mean()
            if not math.isfinite(loss.item()):
                raise PilarnetError(
                    f"the loss of step {step + 1} of training a classifier is not finite",
                    found=loss.item(),
                    advice="try a lower --lr or --finetune-lr, or --precision fp32",
                )
            loss.backward()  # type: ignore[no-untyped-call]
            torch.nn.utils.clip_grad_norm_(weights, _CLIP_NORM)
            optimizer.step()
            advance(1)
        self.module.eval()

    def predict(self, batch: ParticleBatch) -> NDArray[np.float32]:
        """Give the probability of each class for particles as they are, float32 [N, classes]."""
        self.module.eval()
        parts = []
        with torch.no_grad():
            for piece in batch.split(_INFERENCE_BATCH):
                voxels = self._plain(piece.to(self.device))
                parts.append(self._logits(voxels, None).softmax(dim=1).cpu().numpy())
        return np.concatenate(parts)

    def weights(self) -> dict[str, NDArray[np.float32]]:
        """Give the weights by name."""
        return {name: value.cpu().numpy() for name, value in self.module.state_dict().items()}

    def load(self, weights: Mapping[str, NDArray[np.float32]]) -> None:
        """Take over weights that `weights` gave."""
        self.module.load_state_dict({n: torch.from_numpy(v) for n, v in weights.items()})

    def _logits(self, voxels: VoxelBatch, paths: Tensor | None) -> Tensor:
        bf16 = self.precision == "bf16"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=bf16):
            logits: Tensor = self.head(self.encoder(voxels, self.engine, paths))
        return logits.float()

    def _view(self, batch: ParticleBatch, epoch: int, options: FitOptions) -> VoxelBatch:
        if not options.augment:
            return self._plain(batch)
        drawn = ViewConfig(
            augmentations=self.config.augmentations,
            num_augmentations=self.config.num_augmentations,
            energy_transform=self.config.energy_transform,
        )
        return views(batch, seed=self.seed, epoch=epoch, view=_VIEW, config=drawn)

    def _plain(self, batch: ParticleBatch) -> VoxelBatch:
        return plain(batch, energy_transform=self.config.energy_transform)


def num_steps(num_particles: int, *, options: FitOptions) -> int:
    """Count the steps of training on so many particles."""
    size = min(options.batch_size, num_particles)
    return max(options.epochs * (num_particles // size), options.min_steps)
