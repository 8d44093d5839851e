"""Networks that classify, the probes they are compared with, and the labels that these may see."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clr_eval.config import EvalConfig
from clr_eval.embedding.split import LoadedSplit, labelled_subset, read_split
from clr_eval.finetune import Classifier, num_steps
from clr_eval.methods import CLASS_WEIGHTS
from clr_eval.probes import fit_probe
from clr_train import Learner, load_learner
from clr_train.probe.classifiers import CLASSIFIERS
from clr_train.probe.features import Features
from clr_train.probe.handcrafted import handcrafted_features
from clr_train.probe.probes import linear_probe, majority, nearest_neighbours
from pilarnet_convert.errors import PilarnetError

CONFIG = EvalConfig(
    checkpoint="", shards="", epochs=1, min_steps=3, batch_size=20, lr=1e-3, finetune_lr=1e-3
)


@pytest.fixture(scope="module")
def learner(checkpoint: Path) -> Learner:
    return load_learner(checkpoint, device="cpu", engine="torch", precision="fp32")


@pytest.fixture(scope="module")
def train(shards: Path) -> LoadedSplit:
    return read_split(shards, split="train")


@pytest.fixture(scope="module")
def test(shards: Path) -> LoadedSplit:
    return read_split(shards, split="test")


def _fitted(learner: Learner, train: LoadedSplit, *, pretrained: bool, seed: int = 0) -> Classifier:
    network = Classifier(learner, pretrained=pretrained, seed=seed)
    network.fit(train.take(np.arange(40)), config=CONFIG)
    return network


def test_fine_tuning_begins_at_the_checkpoint_and_leaves_it_alone(
    learner: Learner, train: LoadedSplit
) -> None:
    before = {name: value.clone() for name, value in learner.model.state_dict().items()}
    network = Classifier(learner, pretrained=True, seed=0)
    batch = train.take(np.arange(12))
    pieces: Iterator[torch.Tensor] = (
        network.encoder(network._as_sites(piece), network.engine) for piece in batch.split(12)
    )
    with torch.no_grad():
        network.module.eval()
        torch.testing.assert_close(next(pieces), learner.represent(batch))
    network.fit(batch, config=CONFIG)
    assert all(torch.equal(before[n], v) for n, v in learner.model.state_dict().items())
    moved = network.encoder.state_dict()
    assert any(not torch.equal(before[f"encoder.{n}"], v) for n, v in moved.items())


def test_from_scratch_begins_where_the_seed_says(learner: Learner, train: LoadedSplit) -> None:
    batch = train.take(np.arange(12))
    first, again, other = (
        Classifier(learner, pretrained=False, seed=seed).predict(batch) for seed in (1, 1, 2)
    )
    np.testing.assert_array_equal(first, again)
    assert not np.allclose(first, other)
    assert not np.allclose(first, Classifier(learner, pretrained=True, seed=1).predict(batch))


@pytest.mark.parametrize("pretrained", [True, False])
def test_training_repeats_bit_for_bit(
    learner: Learner, train: LoadedSplit, test: LoadedSplit, pretrained: bool
) -> None:
    first = _fitted(learner, train, pretrained=pretrained).predict(test.batch)
    again = _fitted(learner, train, pretrained=pretrained)
    np.testing.assert_array_equal(first, again.predict(test.batch))
    np.testing.assert_allclose(first.sum(axis=1), 1, atol=1e-5)
    fresh = Classifier(learner, pretrained=pretrained, seed=0)
    fresh.load(again.weights())
    np.testing.assert_array_equal(first, fresh.predict(test.batch))


def test_it_learns(learner: Learner, train: LoadedSplit) -> None:
    batch = train.take(np.arange(60))
    network = Classifier(learner, pretrained=True, seed=0)
    config = dataclasses.replace(
        CONFIG, min_steps=45, batch_size=30, finetune_lr=3e-3, augment=False
    )
    steps = []
    network.fit(batch, config=config, on_step=steps.append)
    assert steps == [*range(1, 46)]
    assert num_steps(60, config=config) == 45
    predicted = network.predict(batch).argmax(axis=1)
    assert (predicted == batch.label.numpy()).mean() > 0.7  # one in five by chance


def test_steps_are_epochs_or_the_least() -> None:
    config = dataclasses.replace(CONFIG, epochs=4, min_steps=10)
    assert num_steps(100, config=config) == 20
    assert num_steps(45, config=config) == 10
    assert num_steps(7, config=config) == 10


def test_a_loss_that_is_not_finite_stops_it(learner: Learner, train: LoadedSplit) -> None:
    network = Classifier(learner, pretrained=True, seed=0)
    with torch.no_grad():
        network.head.bias.fill_(float("nan"))
    with pytest.raises(PilarnetError, match="loss of step 1 of training a classifier"):
        network.fit(train.take(np.arange(12)), config=CONFIG)


def _features(particles: LoadedSplit) -> Features:
    return Features(
        values=handcrafted_features(particles.batch),
        label=particles.label,
        particle=particles.batch.particle.numpy(),
    )


@pytest.mark.parametrize(
    ("name", "score"),
    [("linear", linear_probe), ("knn", nearest_neighbours), ("majority", majority)],
)
def test_probes_predict_as_those_of_a_training_run(
    name: str, score: object, train: LoadedSplit, test: LoadedSplit
) -> None:
    seen, unseen = _features(train), _features(test)
    probe = fit_probe(seen, classifier=name, class_weight="balanced", seed=0)
    predicted = probe(unseen.values).argmax(axis=1)
    expected = score(seen, test=unseen)  # type: ignore[operator]
    assert (predicted == unseen.label).mean() == pytest.approx(expected.accuracy)


@pytest.mark.parametrize(("weight", "per"), [("none", "particle"), ("balanced", "class")])
def test_a_linear_probe_expects_as_many_of_each_class_as_weigh_in(
    weight: str, per: str, train: LoadedSplit
) -> None:
    # So it must be where the cross entropy, weighted and penalised but for the constant, is least.
    seen = _features(train)
    found = fit_probe(seen, classifier="linear", class_weight=weight, seed=0)(seen.values)
    shares = np.bincount(seen.label, minlength=5) / len(seen.label)
    if per == "class":
        found = np.stack([found[seen.label == label].mean(axis=0) for label in range(5)])
        shares = np.full(5, 0.2)
    np.testing.assert_allclose(found.mean(axis=0), shares, atol=2e-3)


def test_networks_and_trees_weigh_as_they_are_told(learner: Learner, train: LoadedSplit) -> None:
    many, few = 3, 2
    rows = [np.flatnonzero(train.label == label) for label in (many, few)]
    for counts, alike in (((3, 3), True), ((12, 3), False)):
        some = np.concatenate([r[:count] for r, count in zip(rows, counts, strict=True)])
        seen = _features(train)
        seen = Features(values=seen.values[some], label=seen.label[some], particle=some)
        rare = {}
        for weight in CLASS_WEIGHTS:
            network = Classifier(learner, pretrained=True, seed=0)
            config = dataclasses.replace(CONFIG, class_weight=weight, finetune_lr=1e-2)
            network.fit(train.take(some), config=config)
            trees = fit_probe(seen, classifier="trees", class_weight=weight, seed=0)
            predicted = network.predict(train.batch), trees(seen.values)
            rare[weight] = [found[:, few].mean() for found in predicted]
        difference = np.subtract(rare["balanced"], rare["none"])
        if alike:
            np.testing.assert_allclose(difference, 0, atol=1e-5)
        else:
            assert (difference > 0.05).all()


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_probes_know_nothing_of_classes_they_have_not_seen(name: str, train: LoadedSplit) -> None:
    everything = _features(train)
    for known in ([0, 3], [2]):
        rows = np.flatnonzero(np.isin(everything.label, known))
        seen = Features(values=everything.values[rows], label=everything.label[rows], particle=rows)
        probe = fit_probe(seen, classifier=name, class_weight="balanced", seed=0)
        found = probe(everything.values)
        assert found.shape == (len(train), 5)
        np.testing.assert_allclose(found[:, known].sum(axis=1), 1)
        assert not np.delete(found, known, axis=1).any()


@given(
    label=st.lists(st.integers(0, 4), min_size=1, max_size=80).map(np.array),
    fractions=st.tuples(st.floats(0.001, 1), st.floats(0.001, 1)).map(sorted),
    seed=st.integers(0, 100),
)
def test_labelled_subsets_are_stratified_and_nested(
    label: np.ndarray, fractions: list[float], seed: int
) -> None:
    few, many = (labelled_subset(label, fraction=f, seed=seed) for f in fractions)
    assert set(few) <= set(many)
    assert (np.diff(many) > 0).all()
    for species, count in zip(*np.unique(label, return_counts=True), strict=True):
        share = np.count_nonzero(label[many] == species)
        assert share == max(1, round(fractions[1] * count))
    whole = labelled_subset(label, fraction=1.0, seed=seed)
    np.testing.assert_array_equal(whole, np.arange(len(label)))


def test_the_seed_chooses_the_labels(train: LoadedSplit) -> None:
    first, again, other = (labelled_subset(train.label, fraction=0.5, seed=s) for s in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert set(first) != set(other)
