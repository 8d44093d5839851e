"""Pictures of what a report found, in colours that the colour-blind tell apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from clr_eval.binned_metrics import QUANTITIES
from clr_eval.methods import METHODS
from pilarnet_convert.pictures import hide_frames, new_figure, save_figure
from pilarnet_convert.species import CLASSES, COLOURS

if TYPE_CHECKING:
    from pilarnet_convert.pictures import Axes, Figure

__all__ = ["draw_confusion", "draw_failures", "draw_fractions", "draw_robustness", "main_methods"]

_NAMES: Final = tuple(species.name for species in CLASSES)


def main_methods(names: Sequence[str]) -> list[str]:
    """Pick the methods that are looked at closely, in the order of `METHODS`."""
    return [name for name, method in METHODS.items() if method.robust and name in names]


def draw_fractions(results: Sequence[Mapping[str, Any]], *, path: Path) -> None:
    """Draw balanced accuracy over the number of labelled particles, a curve a method.

    Parameters
    ----------
    results : sequence of mapping
        ``results`` of report.json.
    path : Path
        The picture; its ending decides on the kind.
    """
    figure = new_figure(9.5, 5)
    axes = figure.subplots()
    for name, method in METHODS.items():
        points = [result for result in results if result["method"] == name]
        if not points:
            continue
        labels = [point["num_labelled"] for point in points]
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
    axes.xaxis.set_minor_formatter("")
    axes.set(
        xlabel="labelled particles of the training split",
        ylabel="balanced accuracy on the test split [%]",
        title="what labels are needed for (bars: 95 % bootstrap intervals)",
    )
    axes.grid(axis="y", alpha=0.3)
    figure.legend(loc="outside right upper", frameon=False)
    _save(figure, path)


def draw_confusion(results: Sequence[Mapping[str, Any]], *, fraction: float, path: Path) -> None:
    """Draw the confusion matrices of the main methods at one label fraction, a panel each."""
    chosen = {r["method"]: r for r in results if r["fraction"] == fraction}
    names = main_methods(list(chosen))
    figure = new_figure(4.1 * len(names), 4.3)
    panels = figure.subplots(1, len(names), squeeze=False)[0]
    for axes, name in zip(panels, names, strict=True):
        counts = np.array(chosen[name]["confusion"])
        share = 100 * counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
        axes.imshow(share, cmap="Blues", vmin=0, vmax=100)
        for row, column in np.ndindex(*share.shape):
            value = share[row, column]
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=11,
                color="white" if value > 55 else "black",
            )  # fmt: skip
        axes.set_xticks(range(len(_NAMES)), _NAMES, rotation=35, ha="right")
        axes.set_yticks(range(len(_NAMES)), _NAMES)
        axes.set(xlabel="called", title=METHODS[name].title)
    panels[0].set_ylabel("true class (each row adds to 100 %)")
    _save(figure, path)


def draw_robustness(robustness: Mapping[str, Any], *, path: Path) -> None:
    """Draw balanced accuracy over the level of each disturbance, a panel each."""
    figure = new_figure(13, 7.6)
    panels = figure.subplots(2, 3, sharey=True).ravel()
    for axes, disturbance in zip(panels, robustness.values(), strict=True):
        unit = 100 if "%" in disturbance["axis"] else 1
        levels = [unit * level for level in disturbance["levels"]]
        for name, curves in disturbance["methods"].items():
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
        axes.set(xlabel=disturbance["axis"], title=disturbance["title"])
        axes.grid(alpha=0.3)
    for axes in panels[::3]:
        axes.set_ylabel("balanced accuracy [%]")
    handles, labels = panels[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), frameon=False)
    figure.suptitle("test data made worse (bands: 95 % bootstrap intervals)")
    _save(figure, path)


def draw_failures(failures: Mapping[str, Any], *, path: Path) -> None:
    """Draw accuracy in bins of energy and size: by method above, by class of the first below."""
    figure = new_figure(13.5, 8)
    panels = figure.subplots(2, len(QUANTITIES), sharey="row", squeeze=False)
    for column, (quantity, label) in enumerate(QUANTITIES.items()):
        methods = failures[quantity]
        above, below = panels[:, column]
        for name, bins in methods.items():
            style = {"color": METHODS[name].colour, "linestyle": METHODS[name].line}
            _draw_bins(above, bins, [b["accuracy"] for b in bins], METHODS[name].title, style)
        first = next(iter(methods))
        for species in _NAMES:
            rates = [b["classes"][species]["efficiency"] for b in methods[first]]
            style = {"color": COLOURS[species], "linestyle": "-"}
            _draw_bins(below, methods[first], rates, species, style)
        above.set(xlabel=label, title="all methods")
        below.set(xlabel=label, title=METHODS[first].title)
        for axes in (above, below):
            if methods[first][0]["median"] > 0:
                axes.set_xscale("log")
                axes.xaxis.set_major_formatter("{x:g}")
            axes.grid(alpha=0.3)
    panels[0, 0].set_ylabel("accuracy [%]")
    panels[1, 0].set_ylabel("efficiency of the class [%]")
    for axes in panels[:, -1]:
        axes.legend(frameon=False, fontsize=9, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.suptitle("where it fails (bins of equally many particles, at their median)")
    _save(figure, path)


def _draw_bins(
    axes: Axes,
    bins: Sequence[Mapping[str, Any]],
    rates: Sequence[Mapping[str, Any]],
    label: str,
    style: Mapping[str, Any],
) -> None:
    there = [i for i, rate in enumerate(rates) if rate["value"] is not None]
    if not there:
        return
    values, errors = _with_errors([rates[i] for i in there])
    place = [bins[i]["median"] for i in there]
    axes.errorbar(
        place, values, yerr=errors, marker="o", markersize=4, capsize=2, label=label, **style
    )


def _with_errors(figures: Sequence[Mapping[str, Any]]) -> tuple[Any, Any]:
    """Give values in per cent, and how far their intervals reach below and above, [2, n]."""
    value, low, high = (
        100 * np.array([f["value"] if f[name] is None else f[name] for f in figures])
        for name in ("value", "low", "high")
    )
    return value, np.stack([value - low, high - value]).clip(min=0)


def _save(figure: Figure, path: Path) -> None:
    hide_frames(figure)
    save_figure(figure, path, option="--out")
