"""The encoder under evaluation, the particles it is evaluated on, and predictions for them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clr_eval.cache import Arrays, ResultCache
from clr_eval.config import EvalConfig
from clr_eval.embedding.split import labelled_subset, read_split
from clr_eval.finetune import Classifier, num_steps
from clr_eval.methods import METHODS, Method
from clr_eval.probes import Probe, fit_probe
from clr_eval.progress import CostBar, Costs
from clr_eval.timing import seconds_per_particle
from clr_train.batch import ParticleBatch
from clr_train.learner import Learner
from clr_train.probe.classifiers import MOST_WITHOUT_HOLDOUT
from clr_train.probe.features import Features, collect
from clr_train.probe.handcrafted import handcrafted_features
from clr_train.training.checkpoint import read_checkpoint
from clr_train.training.pretrained import make_learner
from pilarnet_convert.shards.reader import open_shards

__all__ = ["Evaluation", "Predictor", "Trial"]

_BATCH: Final = 256

#: From particles to the probability of each class, float [N, classes].
Predictor = Callable[[ParticleBatch], NDArray[Any]]


@dataclass(frozen=True)
class Trial:
    """A method fitted once, on a fraction of the labels of the training split.

    `seed` fixes which labels these are, and initial weights, order and views of a network.
    """

    name: str
    fraction: float
    seed: int

    @property
    def method(self) -> Method:
        """The method."""
        return METHODS[self.name]

    def __str__(self) -> str:
        return f"{self.method.title}, {100 * self.fraction:g} % of the labels, seed {self.seed}"


class Evaluation:
    """An encoder under evaluation; features and predictions are computed once and cached.

    Parameters
    ----------
    config : EvalConfig
    folder : Path
        Folder of the cache.
    progress : CostBar, optional
        Is told what is being done and how much of it is done.

    Attributes
    ----------
    train, test : LoadedSplit
        Methods are fitted on `train` and predict the classes of `test`.
    learner : Learner
        The encoder.
    step : int
        Steps of its training.
    identity : dict
        What all results depend on, as JSON values.

    Raises
    ------
    PilarnetError
        If the checkpoint or the shards cannot be read, or a split has no particles.
    """

    def __init__(
        self, config: EvalConfig, *, folder: Path, progress: CostBar | None = None
    ) -> None:
        self.config, self.progress = config, progress or CostBar()
        self.say = self.progress.say
        checkpoint = read_checkpoint(config.checkpoint)
        self.step = int(checkpoint.state["step"])
        self.learner = make_learner(
            checkpoint,
            device=config.device,
            engine=config.engine,
            precision=config.precision,
        )
        self.train, self.test = (
            read_split(config.shards, split=split, max_particles=config.max_particles)
            for split in (config.train_split, config.test_split)
        )
        self.identity = {
            "checkpoint": checkpoint.sha256,
            "shards": open_shards(config.shards).identity,
            "splits": [config.train_split, config.test_split],
            "particles": [len(self.train), len(self.test)],
            "precision": self.learner.precision,
        }
        self.cache = ResultCache(folder, identity=self.identity, progress=self.progress)

    @cached_property
    def costs(self) -> Costs:
        """Estimates of how long parts of the report take, from the time of a few particles."""
        return Costs(
            encoding_s=seconds_per_particle(self.learner.represent, self.test.batch, most=_BATCH),
            num_features=self.learner.model.encoder.out_features,
        )

    @cached_property
    def _untrained(self) -> Learner:
        """The encoder as it was before its first step."""
        return Learner(self.learner.config, device=self.learner.device)

    def trials(self, name: str, fraction: float) -> list[Trial]:
        """List the trials of a method: one for each seed, or only one if the seed has no effect."""
        method = METHODS[name]
        has_holdout = method.classifier == "trees" and len(self.train) > MOST_WITHOUT_HOLDOUT
        random = method.features is None or fraction < 1 or has_holdout
        seeds = self.config.seeds if random else self.config.seeds[:1]
        return [Trial(name, fraction, seed) for seed in seeds]

    def labelled(self, trial: Trial) -> NDArray[np.int64]:
        """Return the positions in `train` of the labels that a trial may see, int64 [n]."""
        return labelled_subset(self.train.label, fraction=trial.fraction, seed=trial.seed)

    def cost(self, trial: Trial) -> float:
        """Estimate how long it takes to fit a trial and predict the test split, seconds."""
        labelled = max(1, round(trial.fraction * len(self.train)))
        size = min(self.config.batch_size, labelled)
        return self.costs.trial(
            trial.method,
            labelled=labelled,
            tested=len(self.test),
            trained=size * num_steps(labelled, config=self.config),
        )

    def probabilities(self, trial: Trial) -> NDArray[np.float64]:
        """Predict the probability of each class for the test split, float64 [N, classes]."""
        kind = trial.method.features
        if kind is None:
            return self._network(trial)["probabilities"].astype(np.float64)

        def make() -> Arrays:
            probe = self._fit_probe(trial)
            return {"probabilities": probe(self.features(kind, "test").values)}

        facts = self.dependencies(trial)
        return self.cache.get(
            f"probe-{trial.name}", depends_on=facts, make=make, cost=self.cost(trial)
        )["probabilities"]

    def predictor(self, trial: Trial) -> Predictor:
        """Return the function by which a trial predicts."""
        kind = trial.method.features
        if kind is None:
            network = self._new_classifier(trial)
            network.load(self._network(trial))
            return network.predict
        probe, represent = self._fit_probe(trial), self._represent(kind)
        return lambda batch: probe(collect(batch.split(_BATCH), features=represent).values)

    def dependencies(self, trial: Trial) -> dict[str, Any]:
        """List what the predictions of a trial depend on, as JSON values."""
        names = ["class_weight"]
        if trial.method.features is None:
            names += ["epochs", "min_steps", "batch_size", "augment"]
            names += ["finetune_lr" if trial.name == "finetuned" else "lr"]
        facts = {name: getattr(self.config, name) for name in names}
        return facts | {"fraction": trial.fraction, "seed": trial.seed}

    def features(self, kind: str, split: str) -> Features:
        """Compute the features of all particles of a split.

        Parameters
        ----------
        kind : {"trained", "untrained", "handcrafted"}
            Which features.
        split : {"train", "test"}
            Of which particles.
        """
        particles = {"train": self.train, "test": self.test}[split]

        def make() -> Arrays:
            self.say(f"{kind} features of the {split} split")
            batches = particles.batch.split(_BATCH)
            return {"values": collect(batches, features=self._represent(kind)).values}

        cost = self.costs.features(kind, particles=len(particles))
        part = self.cache.get(f"features-{kind}-{split}", depends_on={}, make=make, cost=cost)
        particle = particles.batch.particle.numpy()
        return Features(values=part["values"], label=particles.label, particle=particle)

    def _represent(self, kind: str) -> Callable[[ParticleBatch], Tensor | NDArray[np.floating]]:
        if kind == "handcrafted":
            return handcrafted_features
        return (self.learner if kind == "trained" else self._untrained).represent

    def _fit_probe(self, trial: Trial) -> Probe:
        method = trial.method
        assert method.features is not None
        assert method.classifier is not None
        labelled = self.features(method.features, "train").take(self.labelled(trial))
        self.say(str(trial))
        return fit_probe(
            labelled,
            classifier=method.classifier,
            class_weight=self.config.class_weight,
            seed=trial.seed,
        )

    def _new_classifier(self, trial: Trial) -> Classifier:
        return Classifier(self.learner, pretrained=trial.name == "finetuned", seed=trial.seed)

    def _network(self, trial: Trial) -> Arrays:
        """Train a network; return its predictions for the test split and, where needed, weights."""
        # Weights are large: only those that are needed again are kept.
        keeps_weights = trial.fraction == self.config.largest_fraction

        def make() -> Arrays:
            rows = self.labelled(trial)
            network = self._new_classifier(trial)
            total = num_steps(len(rows), config=self.config)
            cost = self.cost(trial) / total

            def tell(step: int) -> None:
                self.say(f"{trial}: step {step:,} of {total:,}")
                if step < total:  # the last is counted with the prediction
                    self.progress.advance(cost)

            network.fit(self.train.take(rows), config=self.config, on_step=tell)
            probabilities = network.predict(self.test.batch)
            return {"probabilities": probabilities} | (network.weights() if keeps_weights else {})

        facts = self.dependencies(trial) | {"keeps_weights": keeps_weights}
        return self.cache.get(
            f"network-{trial.name}", depends_on=facts, make=make, cost=self.cost(trial)
        )
