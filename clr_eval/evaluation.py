"""What is judged: an encoder, the particles it is judged on, and what was computed of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clr_eval.cache import PartCache, file_digest, json_digest
from clr_eval.config import EvalConfig
from clr_eval.embedding.split import Particles, labelled_subset, read_split
from clr_eval.finetune import Classifier, FitOptions, num_steps
from clr_eval.methods import METHODS
from clr_eval.probes import fit_probe
from clr_train.batch import ParticleBatch
from clr_train.learner import Learner, load_learner
from clr_train.probe.handcrafted import handmade_features
from clr_train.probe.probes import Features, collect
from clr_train.training.checkpoint import load_checkpoint
from clr_train.training.gradient_cache import split_batch
from pilarnet_convert.shards.reader import open_shard_attributes

__all__ = ["Predict", "Subject"]

_BATCH: Final = 256
_WEIGHTS: Final = "weights/"

#: Predicts the probability of each class of particles, float [N, classes].
Predict = Callable[[ParticleBatch], NDArray[Any]]


class Subject:
    """An encoder under examination.

    Parameters
    ----------
    config : EvalConfig
    folder : Path
        Where to keep what is computed.
    say : callable
        Takes a few words on what is being done.

    Raises
    ------
    PilarnetError
        A checkpoint or shards that cannot be read, or a split without particles.
    """

    def __init__(
        self, config: EvalConfig, *, folder: Path, say: Callable[[str], object] = lambda _: None
    ) -> None:
        self.config, self.say = config, say
        self.learner = load_learner(
            config.checkpoint,
            device=config.device,
            engine=config.engine,
            precision=config.precision,
        )
        self.train, self.test = (
            read_split(config.shards, split=split, max_particles=config.max_particles)
            for split in (config.train_split, config.test_split)
        )
        self.identity = {
            "checkpoint": file_digest(Path(config.checkpoint)),
            "shards": json_digest(open_shard_attributes(Path(config.shards))),
            "splits": [config.train_split, config.test_split],
            "particles": [len(self.train), len(self.test)],
            "precision": self.learner.precision,
        }
        self.cache = PartCache(folder, identity=self.identity)

    @cached_property
    def step(self) -> int:
        """Training steps of the checkpoint."""
        return int(load_checkpoint(self.config.checkpoint)["step"])

    @cached_property
    def _untrained(self) -> Learner:
        """The encoder as it was before its first step."""
        return Learner(self.learner.config, device=self.learner.device)

    def represent(self, kind: str) -> Callable[[ParticleBatch], Tensor | NDArray[np.floating]]:
        """Give what computes features: ``trained``, ``untrained`` or ``handmade``."""
        if kind == "handmade":
            return handmade_features
        return (self.learner if kind == "trained" else self._untrained).represent

    def features(self, kind: str, particles: Particles) -> Features:
        """Give the features of all of `train` or `test`, computed once."""
        split = "train" if particles is self.train else "test"

        def make() -> dict[str, NDArray[Any]]:
            self.say(f"{kind} features of the {split} split")
            pieces = split_batch(particles.batch, size=_BATCH)
            return {"values": collect(pieces, features=self.represent(kind)).values}

        part = self.cache.get(f"features-{kind}-{split}", depends_on={}, make=make)
        return Features(
            values=part["values"],
            label=particles.label,
            particle=particles.batch.particle.numpy(),
        )

    def seeds(self, method: str, fraction: float) -> tuple[int, ...]:
        """Say for which seeds a method is tried: one, where nothing of it is drawn."""
        drawn = METHODS[method].features is None or fraction < 1
        return self.config.seeds if drawn else self.config.seeds[:1]

    def labelled(self, fraction: float, seed: int) -> NDArray[np.int64]:
        """Give the positions in `train` of the particles whose labels may be seen."""
        return labelled_subset(self.train.label, fraction=fraction, seed=seed)

    def probabilities(self, method: str, *, fraction: float, seed: int) -> NDArray[np.float64]:
        """Predict the classes of the test split, float64 [N, classes]."""
        if METHODS[method].features is None:
            found = self._network(method, fraction, seed)
        else:
            found = self.cache.get(
                f"probe-{method}",
                depends_on=self.facts(method, fraction=fraction, seed=seed),
                make=lambda: {"probabilities": self._probe(method, fraction, seed)},
            )
        return found["probabilities"].astype(np.float64)

    def facts(self, method: str, *, fraction: float, seed: int) -> dict[str, Any]:
        """Say what the predictions of a method depend on, as JSON values."""
        facts: dict[str, Any] = {"fraction": fraction, "seed": seed}
        if METHODS[method].features is None:
            facts |= vars(self._fit_options(method))
            # Weights are large: only those that are looked at again are kept.
            facts["keeps_weights"] = fraction == self.config.largest_fraction
        else:
            facts["class_weight"] = self.config.class_weight
        return facts

    def predictor(self, method: str, *, fraction: float, seed: int) -> Predict:
        """Give a method as a function of particles, fitted or trained."""
        kind = METHODS[method].features
        if kind is None:
            part = self._network(method, fraction, seed)
            network = self._fresh(method, seed)
            network.load(
                {
                    name.removeprefix(_WEIGHTS): value
                    for name, value in part.items()
                    if name.startswith(_WEIGHTS)
                }
            )
            return network.predict
        probe = self._fitted(method, fraction, seed)
        represent = self.represent(kind)

        def predict(batch: ParticleBatch) -> NDArray[Any]:
            pieces = split_batch(batch, size=_BATCH)
            return probe(collect(pieces, features=represent).values)

        return predict

    def _fitted(
        self, method: str, fraction: float, seed: int
    ) -> Callable[[NDArray[np.floating]], NDArray[np.float64]]:
        kind, classifier = METHODS[method].features, METHODS[method].classifier
        assert kind is not None
        assert classifier is not None
        everything = self.features(kind, self.train)
        rows = self.labelled(fraction, seed)
        self.say(f"{METHODS[method].title}, {fraction:.2%} of the labels, seed {seed}")
        seen = Features(
            values=everything.values[rows],
            label=everything.label[rows],
            particle=everything.particle[rows],
        )
        return fit_probe(
            seen, classifier=classifier, class_weight=self.config.class_weight, seed=seed
        )

    def _probe(self, method: str, fraction: float, seed: int) -> NDArray[np.float64]:
        kind = METHODS[method].features
        assert kind is not None
        return self._fitted(method, fraction, seed)(self.features(kind, self.test).values)

    def _fresh(self, method: str, seed: int) -> Classifier:
        return Classifier(self.learner, pretrained=method == "finetuned", seed=seed)

    def _fit_options(self, method: str) -> FitOptions:
        config = self.config
        return FitOptions(
            epochs=config.epochs,
            min_steps=config.min_steps,
            batch_size=config.batch_size,
            lr=config.finetune_lr if method == "finetuned" else config.lr,
            augment=config.augment,
            class_weight=config.class_weight,
        )

    def _network(self, method: str, fraction: float, seed: int) -> dict[str, NDArray[Any]]:
        options = self._fit_options(method)
        facts = self.facts(method, fraction=fraction, seed=seed)

        def make() -> dict[str, NDArray[Any]]:
            rows = self.labelled(fraction, seed)
            network = self._fresh(method, seed)
            total = num_steps(len(rows), options=options)
            done = 0

            def advance(steps: int) -> None:
                nonlocal done
                done += steps
                self.say(
                    f"{METHODS[method].title}, {fraction:.2%} of the labels, seed {seed}: "
                    f"step {done} of {total}"
                )

            network.fit(self.train.pick(rows), options=options, advance=advance)
            part: dict[str, NDArray[Any]] = {"probabilities": network.predict(self.test.batch)}
            if facts["keeps_weights"]:
                part |= {_WEIGHTS + name: value for name, value in network.weights().items()}
            return part

        return self.cache.get(f"network-{method}", depends_on=facts, make=make)
