"""Metrics and intervals, compared with scikit-learn on particles that are repeated."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    confusion_matrix,
    precision_score,
    recall_score,
    roc_auc_score,
)

from clr_eval.metrics import class_metrics, probability_metrics, weighted_auc
from pilarnet_convert.species import CLASSES

NAMES = [c.name for c in CLASSES]


def _predictions(seeds: int, count: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(3)
    truth = rng.integers(0, 5, count)
    logits = rng.normal(size=(seeds, count, 5)) + 1.5 * np.eye(5)[truth]
    return truth, np.exp(logits) / np.exp(logits).sum(axis=2, keepdims=True)


def test_values_are_those_of_scikit_learn() -> None:
    truth, probabilities = _predictions(2, 300)
    found = probability_metrics(truth, probabilities, resamples=0, seed=0)
    for seed in range(2):
        predicted = probabilities[seed].argmax(axis=1)
        assert found["accuracy"]["seeds"][seed] == pytest.approx(accuracy_score(truth, predicted))
        assert found["balanced_accuracy"]["seeds"][seed] == pytest.approx(
            balanced_accuracy_score(truth, predicted)
        )
        assert found["auc"]["seeds"][seed] == pytest.approx(
            roc_auc_score(truth, probabilities[seed], multi_class="ovr")
        )
        recall = recall_score(truth, predicted, average=None)
        precision = precision_score(truth, predicted, average=None)
        for label, name in enumerate(NAMES):
            of_class = found["classes"][name]
            assert of_class["efficiency"]["seeds"][seed] == pytest.approx(recall[label])
            assert of_class["purity"]["seeds"][seed] == pytest.approx(precision[label])
            assert of_class["auc"]["seeds"][seed] == pytest.approx(
                roc_auc_score(truth == label, probabilities[seed, :, label])
            )
    tables = [confusion_matrix(truth, p.argmax(axis=1)) for p in probabilities]
    np.testing.assert_allclose(found["confusion"], np.mean(tables, axis=0))
    both = found["accuracy"]["seeds"]
    assert found["accuracy"]["value"] == pytest.approx(np.mean(both))
    assert found["accuracy"]["spread"] == pytest.approx(np.std(both, ddof=1))
    assert found["accuracy"]["low"] is None


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_weights_count_as_repetition(data: st.DataObject) -> None:
    count = data.draw(st.integers(4, 30))
    positive = np.array([True, False, *data.draw(_list_of(st.booleans(), count - 2))])
    ranking = np.array(data.draw(_list_of(st.integers(0, 4), count)), float)  # many ties
    weights = np.array([1, 1, *data.draw(_list_of(st.integers(0, 3), count - 2))])
    (found,) = weighted_auc(positive, ranking, weights=weights[None].astype(float))
    repeated = np.repeat(np.arange(count), weights)
    assert found == pytest.approx(roc_auc_score(positive[repeated], ranking[repeated]))


def _list_of(values: st.SearchStrategy, count: int) -> st.SearchStrategy:
    return st.lists(values, min_size=count, max_size=count)


def test_an_interval_is_that_of_the_binomial_distribution() -> None:
    truth = np.zeros(400, np.int64)
    predicted = np.where(np.arange(400) < 300, 0, 1)[None]
    found = class_metrics(truth, predicted, resamples=3000, seed=1)["accuracy"]
    half = 1.96 * np.sqrt(0.75 * 0.25 / 400)
    assert found["value"] == 0.75
    assert found["low"] == pytest.approx(0.75 - half, abs=0.006)
    assert found["high"] == pytest.approx(0.75 + half, abs=0.006)


def test_the_same_seed_gives_the_same_interval_and_another_another() -> None:
    truth, probabilities = _predictions(1, 80)
    first, again, other = (
        probability_metrics(truth, probabilities, resamples=60, seed=seed) for seed in (5, 5, 6)
    )
    assert first == again
    assert first["accuracy"]["low"] != other["accuracy"]["low"]


def test_intervals_do_not_depend_on_how_many_resamples_are_held_at_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    truth, probabilities = _predictions(2, 50)
    whole = probability_metrics(truth, probabilities, resamples=40, seed=0)
    monkeypatch.setattr("clr_eval.metrics._CHUNK", 150)
    assert probability_metrics(truth, probabilities, resamples=40, seed=0) == whole


def test_a_class_that_does_not_occur_has_no_metrics() -> None:
    truth = np.array([0, 0, 1, 1])
    probabilities = np.eye(5)[[0, 1, 1, 1]][None]
    found = probability_metrics(truth, probabilities, resamples=20, seed=0)
    assert found["classes"]["pion"]["efficiency"]["value"] is None
    assert found["classes"]["pion"]["auc"]["low"] is None
    assert found["balanced_accuracy"]["value"] == pytest.approx(0.75)
    assert found["accuracy"]["spread"] is None
