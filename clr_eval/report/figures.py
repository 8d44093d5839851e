"""Pictures of a report, in colours that colour-blind readers can tell apart.

All but `draw_map` draw a part of report.json.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from clr_eval.binned_metrics import QUANTITIES
from clr_eval.embedding.split import LoadedSplit
from clr_eval.methods import METHODS, main_methods
from clr_train.probe.figures import (
    dot_size,
    draw_classes,
    draw_neighbours,
    frame_map,
    shift_factor,
)
from clr_train.probe.figures import draw_confusion as draw_counts
from pilarnet_convert.errors import counted
from pilarnet_convert.pictures import (
    ENERGY_COLOURS,
    colour_map,
    hide_frames,
    log_norm,
    new_figure,
    save_figure,
    set_log_ticks,
)
from pilarnet_convert.species import CLASS_NAMES, COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes, Figure

__all__ = [
    "draw_binned_metrics",
    "draw_confusion",
    "draw_fractions",
    "draw_map",
    "draw_nearest",
    "draw_robustness",
]


def draw_fractions(results: Sequence[Mapping[str, Any]], *, path: Path) -> None:
    """Draw balanced accuracy over the number of labelled particles, a curve for each method."""
    figure = new_figure(9.5, 5)
    axes = figure.subplots()
    drawn = [name for name in METHODS if any(result["method"] == name for result in results)]
    for number, name in enumerate(drawn):
        method = METHODS[name]
        points = [result for result in results if result["method"] == name]
        aside = shift_factor(number, len(drawn))
        labels = [aside * point["num_labelled"] for point in points]
        style: dict[str, Any] = {"color": method.colour, "linestyle": method.line}
        if name == "majority":
            level = 100 * points[0]["balanced_accuracy"]["value"]
            axes.axhline(level, label=method.title, **style)
            continue
        values, errors = _with_errors([point["balanced_accuracy"] for point in points])
        axes.errorbar(
            labels, values, yerr=errors, marker="o", markersize=5, capsize=3, label=method.title,
            **style,
        )  # fmt: skip
    axes.set_xscale("log")
    counts = sorted({result["num_labelled"] for result in results})
    axes.set_xticks(counts, [f"{count:,}" for count in counts])
    axes.minorticks_off()
    axes.set(
        xlabel="labelled particles",
        ylabel="balanced accuracy [%]",
        title=_title(
            "accuracy over the number of labels", results[0]["balanced_accuracy"], marks="bars"
        ),
    )
    axes.grid(axis="y", alpha=0.3)
    handles, titles = axes.get_legend_handles_labels()
    order = [titles.index(METHODS[name].title) for name in drawn]
    style = {"loc": "outside right upper", "frameon": False}
    figure.legend([handles[i] for i in order], [titles[i] for i in order], **style)
    _save(figure, path)


def draw_confusion(results: Sequence[Mapping[str, Any]], *, fraction: float, path: Path) -> None:
    """Draw the confusion matrices of the main methods at one fraction of the labels."""
    chosen = {r["method"]: r for r in results if r["fraction"] == fraction}
    names = main_methods(list(chosen))
    figure = new_figure(4.1 * len(names), 4.3)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        draw_counts(axes, np.array(chosen[name]["confusion"]))
        axes.set_title(METHODS[name].title)
    panels[0].set_ylabel("true class (each row adds up to 100 %)")
    _save(figure, path)


def draw_robustness(robustness: Mapping[str, Any], *, path: Path) -> None:
    """Draw balanced accuracy over the level of each corruption."""
    figure = new_figure(13, 7.6)
    panels = figure.subplots(-(-len(robustness) // 4), 4, sharey=True, squeeze=False).ravel()
    for axes in panels[len(robustness) :]:
        axes.set_axis_off()
    for axes, corruption in zip(panels, robustness.values(), strict=False):
        unit = 100 if "%" in corruption["axis"] else 1
        levels = [unit * level for level in corruption["levels"]]
        for name, curves in corruption["methods"].items():
            method = METHODS[name]
            values, errors = _with_errors(curves["balanced_accuracy"])
            axes.plot(
                levels, values, method.line, color=method.colour, marker="o", markersize=4,
                label=method.title,
            )  # fmt: skip
            axes.fill_between(
                levels, values - errors[0], values + errors[1],
                color=method.colour, alpha=0.15, linewidth=0,
            )  # fmt: skip
        axes.set(xlabel=fill(corruption["axis"], 38), title=corruption["title"])
        axes.grid(alpha=0.3)
    for axes in panels[::4]:
        axes.set_ylabel("balanced accuracy [%]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    (curves, *_) = next(iter(robustness.values()))["methods"].values()
    figure.suptitle(_title("corrupted test data", curves["balanced_accuracy"][0], marks="bands"))
    _save(figure, path)


def draw_binned_metrics(binned: Mapping[str, Any], *, path: Path) -> None:
    """Draw accuracy in bins of energy and size: all methods, and the classes of the first."""
    figure = new_figure(13.5, 8)
    panels = figure.subplots(2, len(QUANTITIES), sharey="row", squeeze=False)
    for column, (quantity, label) in enumerate(QUANTITIES.items()):
        methods = binned[quantity]
        above, below = panels[:, column]
        style: dict[str, Any]
        for number, (name, bins) in enumerate(methods.items()):
            style = {"color": METHODS[name].colour, "linestyle": METHODS[name].line}
            style |= {"label": METHODS[name].title, "aside": shift_factor(number, len(methods))}
            _draw_bins(above, bins, [b["accuracy"] for b in bins], **style)
        first = next(iter(methods))
        for number, species in enumerate(CLASS_NAMES):
            rates = [b["classes"][species]["efficiency"] for b in methods[first]]
            style = {"color": COLOURS[species], "label": species}
            style |= {"aside": shift_factor(number, len(CLASS_NAMES))}
            _draw_bins(below, methods[first], rates, **style)
        above.set(xlabel=label, title="all methods")
        below.set(xlabel=label, title=METHODS[first].title)
        for axes in (above, below):
            if methods[first] and methods[first][0]["median"] > 0:
                set_log_ticks(axes)
            axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("accuracy [%]")
    panels[1, 0].set_ylabel("efficiency of the class [%]")
    for axes in panels[:, -1]:
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle("accuracy in bins of equally many particles, drawn at their median")
    _save(figure, path)


def draw_map(
    place: NDArray[np.float32], *, rows: NDArray[np.int64], particles: LoadedSplit, path: Path
) -> None:
    """Draw positions [n, 2] of the `rows` of `particles`, coloured by class and by energy."""
    figure = new_figure(13, 6)
    by_class, by_energy = figure.subplots(1, 2)
    size = dot_size(len(rows))
    draw_classes(by_class, place, label=particles.label[rows], size=size)
    energy = particles.columns["energy_deposit"][rows]
    positive = energy[np.isfinite(energy) & (energy > 0)]
    low, high = np.quantile(positive, [0.01, 0.99]) if len(positive) else (1.0, 10.0)
    shown = by_energy.scatter(
        *place.T,
        c=energy,
        s=size,
        linewidths=0,
        cmap=colour_map(ENERGY_COLOURS),
        norm=log_norm(low, high),
    )
    figure.colorbar(shown, ax=by_energy, label="deposited energy [MeV]", shrink=0.85, format="%g")
    by_class.set_title("by class")
    by_energy.set_title("by deposited energy")
    for axes in (by_class, by_energy):
        frame_map(axes, place)
    figure.suptitle(f"features of {counted(len(rows), 'particle')}")
    save_figure(figure, path, option="--out")


def draw_nearest(
    neighbours: Mapping[str, NDArray[Any]], *, test: LoadedSplit, train: LoadedSplit, path: Path
) -> None:
    """Draw particles of the test split, each in a row with its neighbours in the training split.

    `neighbours` is from `clr_eval.embedding_map.example_neighbours`.
    """
    figure = draw_neighbours(
        test.take(neighbours["query"]),
        found=train.take(neighbours["found"].ravel()),
        similarity=neighbours["similarity"],
    )
    save_figure(figure, path, option="--out")


def _draw_bins(
    axes: Axes,
    bins: Sequence[Mapping[str, Any]],
    rates: Sequence[Mapping[str, Any]],
    *,
    aside: float,
    **style: Any,
) -> None:
    defined = [i for i, rate in enumerate(rates) if rate["value"] is not None]
    if not defined:
        return
    values, errors = _with_errors([rates[i] for i in defined])
    place = [aside * bins[i]["median"] for i in defined]
    axes.errorbar(place, values, yerr=errors, marker="o", markersize=4, capsize=2, **style)


def _title(text: str, metric: Mapping[str, Any], *, marks: str) -> str:
    """Return a title that says what the marks around values are, if they have intervals."""
    return text if metric["low"] is None else f"{text} ({marks}: 95 % bootstrap intervals)"


def _with_errors(metrics: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Return values in per cent, [n], and the lengths of the error bars below and above, [2, n]."""
    value, low, high = (
        100 * np.array([m["value"] if m[name] is None else m[name] for m in metrics])
        for name in ("value", "low", "high")
    )
    return value, np.stack([value - low, high - value]).clip(min=0)


def _save(figure: Figure, path: Path) -> None:
    hide_frames(figure)
    save_figure(figure, path, option="--out")
