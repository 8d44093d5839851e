"""Pictures of reports: colours with one meaning, ticks apart, every method seen."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from clr_eval.methods import METHODS
from clr_eval.report import figures
from clr_eval.study import figures as study_figures
from clr_eval.study.figures import DOMAIN_COLOURS
from clr_eval.study.methods import STUDY_METHODS
from clr_train.probe.figures import frame_map
from pilarnet_convert.pictures import new_figure, set_log_ticks
from pilarnet_convert.species import COLOURS, OTHER_COLOURS
from pilarnet_view.colours import PARTICLE_COLOURS, SPECIES_COLOURS


def lab(colour: str, seen: Any = None) -> np.ndarray:
    """CIE L*a*b* of a colour of sRGB under D65, by the formulas of CIE 15 and IEC 61966-2-1.

    `seen` is what a colour-blind reader sees of linear RGB.
    """
    srgb = np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)]) / 255
    linear = np.where(srgb <= 0.04045, srgb / 12.92, ((srgb + 0.055) / 1.055) ** 2.4)
    linear = linear if seen is None else np.clip(np.array(seen) @ linear, 0, 1)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    x, y, z = np.cbrt(np.array(to_xyz) @ linear / (0.9505, 1.0, 1.089))
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def test_no_colour_can_be_taken_for_that_of_a_class():
    for colour in OTHER_COLOURS.values():
        for species in COLOURS.values():
            assert np.linalg.norm(lab(colour) - lab(species)) > 30, (colour, species)
    used = {m.colour for m in (*METHODS.values(), *STUDY_METHODS.values())}
    assert used | set(DOMAIN_COLOURS) <= set(OTHER_COLOURS.values())
    particles = {colour.upper() for palette in PARTICLE_COLOURS.values() for colour in palette}
    assert not particles & {colour.upper() for colour in SPECIES_COLOURS.values()}
    # Methods of one colour differ in their lines.
    for methods in (METHODS, STUDY_METHODS):
        drawn = [(m.colour, m.line) for m in methods.values()]
        assert len(set(drawn)) == len(drawn)


#: G. M. Machado, M. M. Oliveira and L. A. F. Fernandes, IEEE TVCG 15 (2009) 1291, table 1: what
#: readers without the cones for green, and for red, see of linear RGB.
DEUTERANOPIA = [
    [0.367322, 0.860646, -0.227968],
    [0.280085, 0.672501, 0.047413],
    [-0.011820, 0.042940, 0.968881],
]
PROTANOPIA = [
    [0.152286, 1.052583, -0.204868],
    [0.114503, 0.786281, 0.099216],
    [-0.003882, -0.048116, 1.051998],
]


@pytest.mark.parametrize("seen", [DEUTERANOPIA, PROTANOPIA], ids=["deuteranopia", "protanopia"])
def test_colours_of_one_picture_are_told_apart_by_colour_blind_readers(seen: list[list[float]]):
    methods = [{m.colour for m in known.values()} for known in (METHODS, STUDY_METHODS)]
    for colours in (set(SPECIES_COLOURS.values()), set(DOMAIN_COLOURS), *methods):
        for one, other in itertools.combinations(sorted(colours), 2):
            assert np.linalg.norm(lab(one, seen) - lab(other, seen)) > 12, (one, other)


@settings(max_examples=30, deadline=None)
@given(st.floats(-2, 3), st.floats(1e-3, 4))
def test_ticks_of_a_logarithmic_axis_are_apart(start: float, decades: float):
    figure = new_figure(4.5, 3)  # a panel of the metrics in bins
    axes = figure.subplots()
    axes.set_xlim(10**start, 10 ** (start + decades))
    set_log_ticks(axes)
    figure.draw_without_rendering()
    low, high = axes.get_xlim()
    labels = [t for t in axes.get_xticklabels() if low <= t.get_position()[0] <= high]
    assert len(labels) >= 2
    assert not any("$" in label.get_text() for label in labels)
    for one, other in itertools.pairwise(t.get_window_extent() for t in labels):
        assert not one.overlaps(other), [t.get_text() for t in labels]


def test_every_method_is_seen(monkeypatch: pytest.MonkeyPatch):
    """All of the same accuracy: no marker hides another."""
    made: list[Any] = []
    monkeypatch.setattr(
        figures, "save_figure", lambda figure, *_args, **_kwargs: made.append(figure)
    )
    same = {"value": 0.5, "low": 0.4, "high": 0.6}
    figures.draw_fractions(
        [
            {"method": name, "fraction": n / 400, "num_labelled": n, "balanced_accuracy": same}
            for name in METHODS
            for n in (4, 40, 400)
        ],
        path=Path("x.png"),
    )
    (figure,) = made
    figure.draw_without_rendering()
    (axes,) = figure.axes
    lines = [line for line in axes.lines if line.get_marker() == "o"]
    assert len(lines) == len(METHODS) - 1  # the majority is a line across
    for point in range(3):
        pixels = np.array([axes.transData.transform(line.get_xydata()[point]) for line in lines])
        assert np.diff(np.sort(pixels[:, 0])).min() > 5
    texts = {text.get_text() for text in figure.legends[0].get_texts()}
    assert texts == {method.title for method in METHODS.values()}


def test_ticks_are_the_numbers_of_labels(monkeypatch: pytest.MonkeyPatch):
    made: list[Any] = []
    monkeypatch.setattr(
        study_figures, "save_figure", lambda figure, *_args, **_kwargs: made.append(figure)
    )
    counts = {"100": 100, "1000": 1000, "all": 2465}
    rates = {name: {"nominal": {"balanced_accuracy": {"value": 0.5}}} for name in STUDY_METHODS}
    study_figures.draw_labels(
        dict.fromkeys(counts, rates), counts=counts, domains=["nominal"], path=Path("x")
    )
    axes = made[0].axes[0]
    made[0].draw_without_rendering()
    assert [t.get_text() for t in axes.get_xticklabels()] == ["100", "1,000", "2,465"]
    for one, other in itertools.pairwise(t.get_window_extent() for t in axes.get_xticklabels()):
        assert not one.overlaps(other)
    # Each method is seen, though all are as accurate.
    pixels = [axes.transData.transform(line.get_xydata()[0])[0] for line in axes.lines]
    assert np.diff(np.sort(pixels)).min() > 2


@pytest.mark.parametrize("places", [[[0, 0], [1, 300]], [[5, 5]], [[-40, 2], [60, 2], [3, 2]]])
def test_a_map_of_few_particles_is_a_square(places: list[list[float]]):
    axes = new_figure(4, 4).subplots()
    frame_map(axes, np.array(places, float))
    (left, right), (low, high) = axes.get_xlim(), axes.get_ylim()
    assert right - left == pytest.approx(high - low)
    assert all(left < x < right and low < y < high for x, y in places)
