"""Figures of a study, as PNG for the page and as PDF for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clr_eval.study.methods import STUDY_METHODS
from clr_train.probe.figures import dot_size, draw_classes, frame_map, shift_factor
from clr_train.probe.figures import draw_confusion as draw_counts
from pilarnet_convert.pictures import hide_frames, new_figure, save_figure
from pilarnet_convert.species import OTHER_COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes, Figure

__all__ = [
    "DOMAIN_COLOURS",
    "draw_confusion",
    "draw_domains",
    "draw_labels",
    "draw_map",
    "draw_stability",
]

#: Panels in a row.
_COLUMNS = 3
#: Of the two domains of a map.
DOMAIN_COLOURS = (OTHER_COLOURS["violet"], OTHER_COLOURS["lime"])
#: Hatches of bars, by the line style of the method in other figures.
_HATCHES = {"-": None, "--": "///", "-.": "...", ":": "xxx"}


def draw_domains(results: Mapping[str, Any], *, domains: Sequence[str], path: Path) -> None:
    """Draw balanced accuracy over the domains, a line for each method, from all labels."""
    figure, axes = _over_domains(domains, height=5)
    for number, (name, metrics) in enumerate(results.items()):
        method = STUDY_METHODS[name]
        rates = [metrics[domain]["balanced_accuracy"] for domain in domains]
        values = np.array([100 * rate["value"] for rate in rates])
        errors = np.array([100 * (rate["spread"] or 0.0) for rate in rates])
        place = np.arange(len(domains)) + 0.04 * (number - len(results) / 2)
        axes.errorbar(
            place, values, yerr=errors, color=method.colour, linestyle=method.line, marker="o",
            markersize=5, capsize=3, label=method.title,
        )  # fmt: skip
    axes.set(ylabel="balanced accuracy [%]", title="bars: standard deviation over the seeds")
    axes.grid(axis="y", alpha=0.3)
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def draw_labels(
    results: Mapping[str, Mapping[str, Any]],
    *,
    counts: Mapping[str, int],
    domains: Sequence[str],
    path: Path,
) -> None:
    """Draw balanced accuracy over the number of labels, a panel for each domain."""
    figure, panels = _grid(len(domains), width=4.0, height=3.6, legend=3.0, sharey=True)
    methods = list(next(iter(results.values())))
    for axes, domain in zip(panels, domains, strict=True):
        for number, name in enumerate(methods):
            method, aside = STUDY_METHODS[name], shift_factor(number, len(methods))
            rates = [results[count][name][domain]["balanced_accuracy"] for count in counts]
            axes.plot(
                [aside * num for num in counts.values()], [100 * rate["value"] for rate in rates],
                method.line, color=method.colour, marker="o", markersize=4, label=method.title,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="labelled particles", title=domain)
        axes.set_xticks(list(counts.values()), [f"{num:,}" for num in counts.values()])
        axes.minorticks_off()
        axes.grid(alpha=0.3)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("balanced accuracy [%]")
    panels[min(len(domains), _COLUMNS) - 1].legend(
        frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    _save(figure, path)


def draw_stability(stability: Mapping[str, Any], *, domains: Sequence[str], path: Path) -> None:
    """Draw the mean change of the true class's probability, a bar for each method and domain."""
    figure, axes = _over_domains(domains, height=4.5)
    names = [name for name in stability if stability[name]]
    width = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        values = [stability[name][domain]["probability"] for domain in domains]
        place = np.arange(len(domains)) + width * (number - (len(names) - 1) / 2)
        method = STUDY_METHODS[name]
        axes.bar(
            place, values, width, color=method.colour, alpha=0.8, label=method.title,
            hatch=_HATCHES[method.line], edgecolor="white", linewidth=0.0,
        )  # fmt: skip
    axes.set_ylabel("mean |p \u2212 p'| of the true class")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def draw_confusion(metrics: Mapping[str, Any], *, domains: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix of a method in each domain, rows adding up to 100 %."""
    figure, panels = _grid(len(domains), width=4.0, height=4.2)
    for axes, domain in zip(panels, domains, strict=True):
        draw_counts(axes, np.array(metrics[domain]["confusion"]))
        axes.set_title(domain)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("true class")
    _save(figure, path)


def draw_map(
    place: NDArray[np.floating],
    *,
    label: NDArray[np.int64],
    domain: NDArray[np.int64],
    domains: Sequence[str],
    path: Path,
) -> None:
    """Draw features of two domains in one map [N, 2], by class and by domain."""
    figure = new_figure(13, 6)
    by_class, by_domain = figure.subplots(1, 2)
    size = dot_size(len(place))
    draw_classes(by_class, place, label=label, size=size)
    # Shuffled, so that no domain covers the others.
    order = np.random.default_rng(0).permutation(len(place))
    colours = np.array(DOMAIN_COLOURS)[domain[order]]
    by_domain.scatter(*place[order].T, s=size, linewidths=0, c=colours)
    for name, colour in zip(domains, DOMAIN_COLOURS, strict=False):
        by_domain.scatter([], [], s=40, color=colour, label=name)
    by_domain.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes, title in ((by_class, "by class"), (by_domain, "by domain")):
        frame_map(axes, place)
        axes.set_title(title)
    for ending in (".png", ".pdf"):
        save_figure(figure, path.with_suffix(ending), option="--out")


def _grid(
    count: int, *, width: float, height: float, legend: float = 0.0, sharey: bool = False
) -> tuple[Figure, list[Any]]:
    """Make a figure of `count` panels in rows of three; sizes and room for a legend in inches."""
    columns, rows = min(count, _COLUMNS), -(-count // _COLUMNS)
    figure = new_figure(width * columns + legend, height * rows)
    panels = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, list(panels[:count])


def _over_domains(domains: Sequence[str], *, height: float) -> tuple[Figure, Axes]:
    """Make axes with a place for each domain, wide enough for its name, and room for a legend."""
    names = [fill(name, 14) for name in domains]
    figure = new_figure(4.5 + 0.9 * max(4, len(names)), height)
    axes = figure.subplots()
    axes.set_xticks(range(len(names)), names)
    return figure, axes


def _save(figure: Figure, path: Path) -> None:
    hide_frames(figure)
    for ending in (".png", ".pdf"):
        save_figure(figure, path.with_suffix(ending), option="--out")
