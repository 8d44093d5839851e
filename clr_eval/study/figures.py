"""Figures of a study, as PNG for the page and as PDF for papers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clr_eval.study.methods import STUDY_METHODS
from clr_train.probe.figures import draw_classes
from clr_train.probe.figures import draw_confusion as draw_counts
from pilarnet_convert.pictures import hide_frames, new_figure, save_figure
from pilarnet_convert.species import OTHER_COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Figure

__all__ = ["draw_confusion", "draw_domains", "draw_labels", "draw_map", "draw_stability"]

#: Panels in a row.
_COLUMNS = 3
_DOMAIN_COLOURS = tuple(OTHER_COLOURS.values())


def draw_domains(results: Mapping[str, Any], *, domains: Sequence[str], path: Path) -> None:
    """Draw balanced accuracy over the domains, a line for each method, from all labels."""
    figure = new_figure(9, 5)
    axes = figure.subplots()
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
    axes.set_xticks(range(len(domains)), domains)
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
    for axes, domain in zip(panels, domains, strict=True):
        for name in next(iter(results.values())):
            method = STUDY_METHODS[name]
            rates = [results[count][name][domain]["balanced_accuracy"] for count in counts]
            axes.plot(
                list(counts.values()), [100 * rate["value"] for rate in rates], method.line,
                color=method.colour, marker="o", markersize=4, label=method.title,
            )  # fmt: skip
        axes.set(xscale="log", xlabel="labelled particles", title=domain)
        axes.grid(alpha=0.3)
    for axes in panels[::_COLUMNS]:
        axes.set_ylabel("balanced accuracy [%]")
    panels[min(len(domains), _COLUMNS) - 1].legend(
        frameon=False, loc="center left", bbox_to_anchor=(1, 0.5)
    )
    _save(figure, path)


def draw_stability(stability: Mapping[str, Any], *, domains: Sequence[str], path: Path) -> None:
    """Draw the mean change of the true class's probability, a bar for each method and domain."""
    figure = new_figure(9, 4.5)
    axes = figure.subplots()
    names = [name for name in stability if stability[name]]
    width = 0.8 / max(len(names), 1)
    for number, name in enumerate(names):
        values = [stability[name][domain]["probability"] for domain in domains]
        place = np.arange(len(domains)) + width * (number - (len(names) - 1) / 2)
        method = STUDY_METHODS[name]
        axes.bar(
            place, values, width, color=method.colour, alpha=0.8, label=method.title,
            hatch=None if method.line == "-" else "///", edgecolor="white", linewidth=0.0,
        )  # fmt: skip
    axes.set_xticks(range(len(domains)), domains)
    axes.set_ylabel("mean |p - p'| of the true class")
    axes.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    _save(figure, path)


def draw_confusion(metrics: Mapping[str, Any], *, domains: Sequence[str], path: Path) -> None:
    """Draw the confusion matrix of a method in each domain, rows adding up to 100 %."""
    figure, panels = _grid(len(domains), width=4.0, height=4.2)
    for axes, domain in zip(panels, domains, strict=True):
        draw_counts(axes, np.array(metrics[domain]["confusion"]))
        axes.set_title(domain)
    panels[0].set_ylabel("true class")
    _save(figure, path)


def draw_map(
    place: NDArray[np.floating],
    *,
    label: NDArray[np.int64],
    domain: NDArray[np.int64],
    domains: Sequence[str],
    path: Path,
) -> None:
    """Draw features of several domains in one map [N, 2], by class and by domain."""
    figure = new_figure(13, 5.5)
    by_class, by_domain = figure.subplots(1, 2)
    draw_classes(by_class, place, label=label, size=4)
    for number, name in enumerate(domains):
        rows, colour = domain == number, _DOMAIN_COLOURS[number % len(_DOMAIN_COLOURS)]
        by_domain.scatter(*place[rows].T, s=4, linewidths=0, color=colour, alpha=0.6)
        by_domain.scatter([], [], s=40, color=colour, label=name)
    by_domain.legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    for axes, title in ((by_class, "by class"), (by_domain, "by domain")):
        axes.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2", title=title)
    _save(figure, path)


def _grid(
    count: int, *, width: float, height: float, legend: float = 0.0, sharey: bool = False
) -> tuple[Figure, list[Any]]:
    """Make a figure with so many panels in rows of three, and room for a legend, inches."""
    columns, rows = min(count, _COLUMNS), -(-count // _COLUMNS)
    figure = new_figure(width * columns + legend, height * rows)
    panels = figure.subplots(rows, columns, sharey=sharey, squeeze=False).ravel()
    for axes in panels[count:]:
        axes.set_axis_off()
    return figure, list(panels[:count])


def _save(figure: Figure, path: Path) -> None:
    hide_frames(figure)
    for ending in (".png", ".pdf"):
        save_figure(figure, path.with_suffix(ending), option="--out")
