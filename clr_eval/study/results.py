"""What a study trains and predicts, kept so that it can be interrupted."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.cache import Arrays, ResultCache
from clr_eval.embedding.split import LoadedSplit, labelled_subset, read_split
from clr_eval.finetune import Classifier, num_steps
from clr_eval.probes import fit_probe
from clr_eval.progress import CostBar
from clr_eval.report.folder import RESULTS, RUNS
from clr_eval.study.config import StudyConfig
from clr_eval.study.costs import method_cost, pretraining_cost, step_cost
from clr_eval.study.dann import DomainAdversarialClassifier
from clr_eval.study.domains import load_domain
from clr_eval.study.groups import SeedGroup
from clr_eval.study.methods import PRETRAININGS, STUDY_METHODS, StudyMethod
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.probe.features import Features, collect
from clr_train.probe.handcrafted import handcrafted_features
from clr_train.runtime.processes import pick_device
from clr_train.train import pretrain
from clr_train.training.checkpoint import find_checkpoint
from clr_train.training.pretrained import load_learner
from pilarnet_convert.console.signals import Stopped
from pilarnet_convert.shards.reader import open_shards
from pilarnet_convert.storage.identity import file_digest

__all__ = ["StudyResults"]

_BATCH: Final = 256


class StudyResults:
    """The results of a study; what is missing is trained and predicted.

    Parameters
    ----------
    config : StudyConfig
    out : Path
        The folder of the study: ``runs/`` holds pretrained encoders, ``results/`` predictions.
    show_progress : bool
        Draw a bar for each pretraining.

    Attributes
    ----------
    progress : CostBar
        Counts costs of `clr_eval.study.costs`.

    Raises
    ------
    PilarnetError
        Shards cannot be read, or a split has no particles.
    """

    def __init__(self, config: StudyConfig, *, out: Path, show_progress: bool = False) -> None:
        self.config, self.out, self.progress = config, out, CostBar()
        self._show_progress = show_progress

    @cached_property
    def domains(self) -> dict[str, LoadedSplit]:
        """The particles of each domain."""
        return {name: load_domain(domain) for name, domain in self.config.domains.items()}

    @cached_property
    def train(self) -> LoadedSplit:
        """The particles whose labels are learnt."""
        return read_split(self.config.nominal, split="train")

    @cached_property
    def target(self) -> LoadedSplit:
        """The particles of the target, whose labels are not to be used."""
        assert self.config.target is not None
        return read_split(self.config.target, split="train")

    @cached_property
    def _shards(self) -> dict[str, str]:
        """The identity of each set, by its path."""
        folders = {d.shards for d in self.config.domains.values()} | {self.config.nominal}
        if self.config.target is not None:
            folders.add(self.config.target)
        return {path: open_shards(path).identity for path in sorted(folders)}

    @cached_property
    def _cache(self) -> ResultCache:
        domains = {n: dataclasses.asdict(d) for n, d in self.config.domains.items()}
        identity = {"shards": self._shards, "domains": domains}
        return ResultCache(self.out / RESULTS, identity=identity)

    def result(self, method: str, *, seed: int) -> Arrays:
        """Predict every domain by a method, training what is missing.

        Returns
        -------
        dict of arrays
            ``DOMAIN/COUNT``: probabilities, float64 [N, classes], learnt from so many labels (0 for
            all); for methods with frozen features also ``DOMAIN/features``, float32 [N, D], and
            those of the labelled particles, ``train_features``.
        """
        chosen = STUDY_METHODS[method]
        if chosen.pretraining is not None:
            self._pretrained(chosen.pretraining, seed=seed)

        def make() -> Arrays:
            end = self.progress.done + method_cost(self.config, name=method)
            found = self._predict(method, seed=seed)
            self.progress.advance(end - self.progress.done)
            return found

        facts = self._facts(method, seed=seed)
        return self._cache.get(f"{method}-seed{seed}", depends_on=facts, make=make)

    def cost_left(self, group: SeedGroup) -> float:
        """Estimate the cost of what is still missing of a group; see `clr_eval.study.costs`."""
        pretraining = STUDY_METHODS[group.methods[0]].pretraining
        cost, is_new = 0.0, False
        if pretraining is not None and not self._done(pretraining, seed=group.seed).exists():
            cost, is_new = pretraining_cost(self.config, name=pretraining), True
        for name in group.methods:
            if is_new or not self._cache.has(
                f"{name}-seed{group.seed}", depends_on=self._facts(name, seed=group.seed)
            ):
                cost += method_cost(self.config, name=name)
        return cost

    def _facts(self, method: str, *, seed: int) -> dict[str, Any]:
        """Return what the predictions of a method depend on, once its pretraining is done."""
        config, chosen = self.config, STUDY_METHODS[method]
        facts: dict[str, Any] = {
            "seed": seed,
            "counts": list(config.label_counts),
            "fit": dataclasses.asdict(config.fit),
        }
        if chosen.fit != "trees":
            facts["train"] = self._train_config(chosen.pretraining, seed=seed).to_dict()
            facts["train"].pop("out")
        if chosen.fit == "dann":
            facts["alpha"] = config.dann_alpha
        if chosen.pretraining is not None:
            facts["checkpoint"] = file_digest(self._pretrained(chosen.pretraining, seed=seed))
        return facts

    def _predict(self, name: str, *, seed: int) -> Arrays:
        is_probe = STUDY_METHODS[name].fit in ("linear", "trees")
        return (self._predict_by_probes if is_probe else self._predict_by_networks)(name, seed)

    def _predict_by_probes(self, name: str, seed: int) -> Arrays:
        """Fit classifiers to the features of an encoder, or to handcrafted ones."""
        method, found = STUDY_METHODS[name], Arrays()
        learner = None if method.fit == "trees" else self._learner(method, seed=seed)
        train = _features(self.train, learner)
        domains = {domain: _features(split, learner) for domain, split in self.domains.items()}
        if learner is not None:
            found["train_features"] = train.values.astype(np.float32)
            for domain, features in domains.items():
                found[f"{domain}/features"] = features.values.astype(np.float32)
        for count, rows in self._labelled(method, seed=seed):
            probe = fit_probe(
                train.take(rows),
                classifier=method.fit,
                class_weight=self.config.fit.class_weight,
                seed=seed,
            )
            for domain, features in domains.items():
                found[f"{domain}/{count or 0}"] = probe(features.values)
        return found

    def _predict_by_networks(self, name: str, seed: int) -> Arrays:
        """Train the whole network as a classifier."""
        method, found = STUDY_METHODS[name], Arrays()
        for count, rows in self._labelled(method, seed=seed):
            cost = step_cost(self.config, name=name, count=count)
            network = self._fit_network(method, rows, seed=seed, cost=cost)
            for domain, split in self.domains.items():
                found[f"{domain}/{count or 0}"] = network.predict(split.batch).astype(np.float64)
        return found

    def labelled(self, count: int | None, *, seed: int) -> NDArray[np.int64]:
        """Return the rows of the nominal set whose labels are learnt, int64 [n], ascending.

        As each class has at least one label, and its share is rounded, n is not exactly `count`.
        """
        fraction = 1.0 if count is None else min(1.0, count / len(self.train))
        return labelled_subset(self.train.label, fraction=fraction, seed=seed)

    def _labelled(
        self, method: StudyMethod, *, seed: int
    ) -> Iterator[tuple[int | None, NDArray[np.int64]]]:
        """Yield each count of labels and the rows of the nominal set that have them."""
        for count in self.config.label_counts:
            rows = self.labelled(count, seed=seed)
            self.progress.say(f"{method.title}, {len(rows):,} labels, seed {seed}")
            yield count, rows

    def _fit_network(
        self, method: StudyMethod, rows: NDArray[np.int64], *, seed: int, cost: float
    ) -> Classifier:
        """Train a network on rows of the nominal set; `cost` is that of a step."""
        learner = self._learner(method, seed=seed)
        network = (
            DomainAdversarialClassifier(
                learner, target=self.target.batch, alpha=self.config.dann_alpha, seed=seed
            )
            if method.fit == "dann"
            else Classifier(learner, pretrained=method.fit == "finetune", seed=seed)
        )
        total = num_steps(len(rows), config=self.config.fit)

        def tell(step: int) -> None:
            self.progress.say(f"{method.title}, seed {seed}: step {step:,} of {total:,}")
            self.progress.advance(cost)

        network.fit(self.train.take(rows), config=self.config.fit, on_step=tell)
        return network

    def _learner(self, method: StudyMethod, *, seed: int) -> Learner:
        """Load the pretrained encoder of a method, or make one with random weights."""
        train = self.config.train
        if method.pretraining is None:
            own = self._train_config(None, seed=seed)
            return Learner(own, device=pick_device(train.device))
        path = self._pretrained(method.pretraining, seed=seed)
        return load_learner(path, device=train.device, engine=train.engine)

    def _pretrained(self, name: str, *, seed: int) -> Path:
        """Return the checkpoint of a pretraining, and train it where it is missing."""
        say, done = self.progress.say, self._done(name, seed=seed)
        if not done.exists():
            say(f"pretraining {name}, seed {seed}")
            config = self._train_config(name, seed=seed)
            result = pretrain(
                config,
                resume=True,
                show_progress=self._show_progress,
                say=lambda line: say(f"{name}: {line}"),
            )
            if result.stopped_by:
                raise Stopped(result.stopped_by)
            done.touch()
            self.progress.advance(pretraining_cost(self.config, name=name))
        return find_checkpoint(done.parent)

    def _done(self, name: str, *, seed: int) -> Path:
        """Name the file that says that a pretraining has ended."""
        return Path(self._train_config(name, seed=seed).out) / "done"

    def _train_config(self, name: str | None, *, seed: int) -> TrainConfig:
        pretraining = PRETRAININGS[name] if name else PRETRAININGS["simclr-nominal"]
        config = self.config
        shards = config.target if pretraining.shards == "target" else config.nominal
        unlabelled = config.target if pretraining.with_target else None
        chosen = dataclasses.replace(
            config.train,
            shards=str(shards),
            unlabelled=unlabelled,
            loss=pretraining.loss,
            seed=seed,
        )
        # Other options, and other shards under the same path, go to another folder.
        identities = [self._shards[path] for path in (shards, unlabelled) if path is not None]
        digest = hashlib.sha256(repr((chosen.to_dict(), identities)).encode()).hexdigest()[:8]
        out = self.out / RUNS / f"{name}-seed{seed}-{digest}"
        return dataclasses.replace(chosen, out=str(out))


def _features(particles: LoadedSplit, learner: Learner | None) -> Features:
    """Compute the features of an encoder, or handcrafted ones without."""
    represent = handcrafted_features if learner is None else learner.represent
    return collect(particles.batch.split(_BATCH), features=represent)
