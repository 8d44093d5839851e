"""Probes, geometry and handcrafted features against loops written from their definitions."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.probe.classifiers import project_to_plane
from clr_train.probe.features import Features, collect
from clr_train.probe.figures import draw_confusion
from clr_train.probe.geometry import alignment, uniformity
from clr_train.probe.handcrafted import HANDCRAFTED_FEATURES, handcrafted_features
from clr_train.probe.probes import linear_probe, majority, nearest_neighbours
from pilarnet_convert.pictures import new_figure
from pilarnet_convert.species import CLASS_NAMES


def _batch(counts: list[int], seed: int = 0) -> ParticleBatch:
    generator = torch.Generator().manual_seed(seed)
    total = sum(counts)
    return ParticleBatch(
        xyz=torch.randint(0, 500, (total, 3), generator=generator, dtype=torch.int32),
        energy=torch.rand(total, generator=generator) * 3,
        offset=torch.tensor([0, *np.cumsum(counts)], dtype=torch.int64),
        label=torch.arange(len(counts)) % 5,
        particle=torch.arange(len(counts)) + 100,
    )


def _slow_features(xyz: NDArray[np.int32], energy: NDArray[np.float32]) -> list[float]:
    energy64 = energy.astype(np.float64)
    values = [len(energy), energy64.sum(), energy64.mean(), energy64.std(), energy64.max()]
    values.append(np.quantile(energy64, 0.9))
    values += list(np.ptp(xyz, axis=0))
    if len(xyz) == 1:
        return [*map(float, values), 0.0, 0.0]
    centred = xyz - xyz.mean(axis=0)
    l1, l2, l3 = np.linalg.svd(centred, full_matrices=True)[1].tolist() + [0.0] * (
        3 - min(centred.shape)
    )
    scale = l1**2 or 1.0
    return [*map(float, values), (l1**2 - l2**2) / scale, (l2**2 - l3**2) / scale]


@settings(max_examples=30)
@given(counts=st.lists(st.integers(1, 30), min_size=1, max_size=6), seed=st.integers(0, 10**6))
def test_handcrafted_features_equal_one_particle_at_a_time(counts: list[int], seed: int) -> None:
    batch = _batch(counts, seed)
    found = handcrafted_features(batch)
    assert found.shape == (len(counts), len(HANDCRAFTED_FEATURES))
    for i, row in enumerate(found):
        own = slice(int(batch.offset[i]), int(batch.offset[i + 1]))
        expected = _slow_features(batch.xyz[own].numpy(), batch.energy[own].numpy())
        np.testing.assert_allclose(row, expected, rtol=1e-6, atol=1e-9)


def test_a_straight_line_is_linear_and_a_square_is_planar() -> None:
    line = torch.tensor([[i, 2 * i, 3 * i] for i in range(10)], dtype=torch.int32)
    square = torch.tensor([[i, j, 7] for i in range(5) for j in range(5)], dtype=torch.int32)
    batch = ParticleBatch(
        xyz=torch.cat([line, square]),
        energy=torch.ones(35),
        offset=torch.tensor([0, 10, 35]),
        label=torch.zeros(2, dtype=torch.int64),
        particle=torch.arange(2),
    )
    linearity, planarity = handcrafted_features(batch)[:, -2:].T
    np.testing.assert_allclose(linearity, [1, 0], atol=1e-12)
    np.testing.assert_allclose(planarity, [0, 1], atol=1e-12)


def test_a_particle_without_voxels_is_refused() -> None:
    with pytest.raises(ValueError, match="particle 1 of the batch has no voxels"):
        handcrafted_features(_batch([3, 0, 2]))


def test_collect_keeps_order_and_cuts() -> None:
    batches = [_batch([2, 3]), _batch([4, 1, 2]), _batch([9])]

    def count(batch: ParticleBatch) -> torch.Tensor:
        return batch.offset.diff()[:, None].half()

    every = collect(iter(batches), features=count)
    assert every.values[:, 0].tolist() == [2, 3, 4, 1, 2, 9]
    assert every.values.dtype == np.float32
    assert every.label.tolist() == [0, 1, 0, 1, 2, 0]
    assert every.particle.tolist() == [100, 101, 100, 101, 102, 100]


def _features(label: list[int], values: NDArray[np.floating]) -> Features:
    return Features(values=values, label=np.array(label), particle=np.arange(len(label)))


def test_features_of_no_batch_are_refused() -> None:
    with pytest.raises(ValueError, match="batches: expected at least one, found none"):
        collect(iter([]), features=handcrafted_features)


def test_probes_read_separable_classes_and_only_those() -> None:
    rng = np.random.default_rng(0)
    label = rng.integers(0, 3, 400)
    informative = np.eye(3)[label] * 4 + rng.normal(size=(400, 3)) * 0.3
    noise = rng.normal(size=(400, 3))
    for probe in (linear_probe, nearest_neighbours):
        scores = []
        for values in (informative, noise):
            train = _features(label[:300].tolist(), values[:300])
            test = _features(label[300:].tolist(), values[300:])
            scores.append(probe(train, test=test).balanced_accuracy)
        assert scores[0] > 0.98
        assert abs(scores[1] - 1 / 3) < 0.15


def test_linear_probe_does_not_depend_on_scale_and_offset() -> None:
    rng = np.random.default_rng(1)
    values = rng.normal(size=(200, 4))
    label = (values[:, 0] + 0.5 * rng.normal(size=200) > 0).astype(int).tolist()
    scale = np.array([1e-4, 1e4, 1.0, 10.0])
    plain, scaled = (
        linear_probe(_features(label[:150], v[:150]), test=_features(label[150:], v[150:]))
        for v in (values, values * scale + 1000 * scale)
    )
    assert plain == scaled


def test_nearest_neighbours_look_at_directions_only() -> None:
    angle = np.linspace(0, 2 * math.pi, 200, endpoint=False)
    label = (angle > math.pi).astype(int).tolist()
    values = np.column_stack([np.cos(angle), np.sin(angle)])
    length = np.random.default_rng(2).uniform(0.1, 100, size=(200, 1))
    train = _features(label, values)
    assert nearest_neighbours(train, test=_features(label, values * length)).accuracy > 0.9


def test_majority_is_chance_when_balanced() -> None:
    values = np.zeros((10, 1))
    train = _features([1] * 6 + [0] * 4, values)
    test = _features([0, 0, 0, 1, 1, 1, 1, 2, 2, 2], values)
    scores = majority(train, test=test)
    assert scores.accuracy == pytest.approx(0.4)
    assert scores.balanced_accuracy == pytest.approx(1 / 3)


def test_one_class_to_learn_from_is_the_guess() -> None:
    train = _features([2] * 5, np.random.default_rng(0).normal(size=(5, 2)))
    test = _features([2, 1], np.zeros((2, 2)))
    assert linear_probe(train, test=test) == majority(train, test=test)


def test_alignment_and_uniformity_equal_their_definitions() -> None:
    generator = torch.Generator().manual_seed(3)
    first, second = (torch.randn(12, 3, generator=generator) for _ in range(2))
    unit = [[row / row.norm() for row in view] for view in (first, second)]
    gaps = [float(((a - b) ** 2).sum()) for a, b in zip(*unit, strict=True)]
    assert alignment(first, second=second) == pytest.approx(sum(gaps) / 12, rel=1e-5)
    terms = [
        math.exp(-2 * float(((unit[0][i] - unit[0][j]) ** 2).sum()))
        for i in range(12)
        for j in range(i)
    ]
    assert uniformity(first) == pytest.approx(math.log(sum(terms) / len(terms)), rel=1e-5)


def test_extremes_of_alignment_and_uniformity() -> None:
    rows = torch.tensor([[3.0, 0.0], [0.5, 0.0]])
    assert alignment(rows, second=rows) == 0
    assert alignment(rows, second=-rows) == pytest.approx(4)
    assert uniformity(rows) == pytest.approx(0, abs=1e-6)
    assert uniformity(torch.tensor([[1.0, 0.0], [-1.0, 0.0]])) == pytest.approx(-8)


@pytest.mark.parametrize("count", [1, 2, 60])
def test_the_same_features_have_the_same_place(count: int) -> None:
    place = project_to_plane(np.full((count, 8), 0.3, np.float32), seed=0)
    np.testing.assert_array_equal(place, np.zeros((count, 2)))


def test_a_confusion_matrix_is_in_per_cent_of_its_rows() -> None:
    axes = new_figure(4, 4).subplots()
    counts = np.zeros((5, 5))
    counts[0], counts[1, 2] = (6, 2, 0, 0, 1), 3  # no particle of the other classes
    draw_confusion(axes, counts)
    texts = {tuple(map(int, text.get_position())): text.get_text() for text in axes.texts}
    expected = {(0, 0): "67", (1, 0): "22", (4, 0): "11", (2, 1): "100"}  # column, row
    assert {place: text for place, text in texts.items() if text != "0"} == expected
    assert [tick.get_text() for tick in axes.get_yticklabels()] == list(CLASS_NAMES)
