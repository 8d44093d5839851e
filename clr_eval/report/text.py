"""The report in sections, and its headline numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clr_eval.binned_metrics import QUANTITIES
from clr_eval.methods import CLASS_WEIGHTS, METHODS
from clr_eval.report.sections import Section, as_percent, as_rate
from pilarnet_convert.errors import counted
from pilarnet_convert.shards.tables import format_table
from pilarnet_convert.species import CLASS_NAMES

__all__ = ["format_results", "make_sections"]


def make_sections(report: Mapping[str, Any]) -> list[Section]:
    """Write the contents of report.json as sections; parts that it lacks are left out."""
    sections = [_head(report)]
    if report["results"]:
        sections += [_results(report), _classes(report)]
    if "robustness" in report:
        sections += _robustness(report)
    if "binned_metrics" in report:
        sections += _binned_metrics(report)
    if "map" in report:
        sections += _map(report)
    return sections


def format_results(report: Mapping[str, Any]) -> str:
    """Write the accuracies at the largest fraction of the labels as a table for a terminal."""
    largest = max(r["fraction"] for r in report["results"])
    shown = [r for r in report["results"] if r["fraction"] == largest]
    table = {"name": [METHODS[r["method"]].title for r in shown]}
    for metric in ("balanced_accuracy", "accuracy"):
        table[f"{metric.replace('_', ' ')} [%]"] = [as_rate(r[metric]) for r in shown]
    tested = sum(report["shards"]["test"]["counts"].values())
    return (
        f"{shown[0]['num_labelled']:,} labels to learn from, {tested:,} particles to test on\n\n"
        + format_table(table)
    )


def _head(report: Mapping[str, Any]) -> Section:
    options = report["options"]
    rows = [
        ["checkpoint", f"{report['checkpoint']['path']}, step {report['checkpoint']['step']:,}"],
        ["encoder", f"{report['checkpoint']['model']}, {report['checkpoint']['parameters']:,} "
         f"parameters, {report['checkpoint']['features']} features of a particle"],
        ["shards", report['shards']['path']],
    ]  # fmt: skip
    for split in ("train", "test"):
        counts = report["shards"][split]["counts"]
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        name = options[f"{split}_split"]
        rows.append([f"{name} split", f"{sum(counts.values()):,} particles: {listed}"])
    return Section(title="What was evaluated", text="", head=["", ""], rows=rows)


def _results(report: Mapping[str, Any]) -> Section:
    results, options = report["results"], report["options"]
    fractions = sorted({r["fraction"] for r in results})
    by_place = {(r["method"], r["fraction"]): r for r in results}
    rows = []
    for name in METHODS:
        if any((name, f) in by_place for f in fractions):
            cells = [as_rate(by_place[name, f]["balanced_accuracy"]) for f in fractions]
            best = by_place[name, fractions[-1]]
            cells += [as_rate(best["accuracy"]), as_percent(best["auc"])]
            rows.append([METHODS[name].title, *cells])
    labels = {r["fraction"]: r["num_labelled"] for r in results}
    head = [
        "method",
        *(f"{100 * f:.4g} % of the labels ({labels[f]:,})" for f in fractions),
        f"accuracy at {100 * fractions[-1]:.4g} %",
        f"ROC AUC at {100 * fractions[-1]:.4g} %",
    ]
    return Section(
        title="Labels and accuracy",
        text=f"Balanced accuracy on the {options['test_split']} split, per cent, mean over the "
        "seeds; after ± their standard deviation where there are several"
        + (", in brackets the 95 % bootstrap interval" if options["resamples"] else "")
        + f". {CLASS_WEIGHTS[options['class_weight']]}",
        head=head,
        rows=rows,
        figure="label_fractions",
    )


def _classes(report: Mapping[str, Any]) -> Section:
    largest = max(r["fraction"] for r in report["results"])
    rows = []
    for result in report["results"]:
        if result["fraction"] == largest:
            metrics = [
                [result["classes"][name][kind] for kind in ("efficiency", "purity", "auc")]
                for name in CLASS_NAMES
            ]
            cells = [" / ".join(as_percent(m, digits=0) for m in three) for three in metrics]
            rows.append([METHODS[result["method"]].title, *cells])
    return Section(
        title="Classes",
        text="Efficiency / purity / ROC AUC against the rest, per cent, at "
        f"{100 * largest:.4g} % of the labels. Intervals and every seed are in report.json.",
        head=["method", *CLASS_NAMES],
        rows=rows,
        figure="confusion",
    )


def _robustness(report: Mapping[str, Any]) -> list[Section]:
    sections = []
    for corruption in report["robustness"].values():
        unit, suffix = (100, " %") if "%" in corruption["axis"] else (1, "")
        head = [corruption["axis"], *(f"{unit * v:g}{suffix}" for v in corruption["levels"])]
        rows = [
            [METHODS[name].title, *(as_percent(v) for v in curves["balanced_accuracy"])]
            for name, curves in corruption["methods"].items()
        ]
        sections.append(Section(title=corruption["title"], text="", head=head, rows=rows, level=3))
    text = "Balanced accuracy, per cent, on corrupted test data; the training data are as stored."
    return [Section(title="Robustness", text=text, figure="robustness"), *sections]


def _binned_metrics(report: Mapping[str, Any]) -> list[Section]:
    sections = []
    total = sum(report["shards"]["test"]["counts"].values())
    for quantity, label in QUANTITIES.items():
        methods = report["binned_metrics"][quantity]
        bins = next(iter(methods.values()))
        titles = [METHODS[name].title for name in methods]
        head = [label, "particles", *titles, "most frequent error"]
        rows = [
            [
                f"{b['low']:.4g} to {b['high']:.4g}",
                f"{b['count']:,}",
                *(as_rate(found[i]["accuracy"]) for found in methods.values()),
                _most_frequent_error(b["confusion"]),
            ]
            for i, b in enumerate(bins)
        ]
        unknown = total - sum(b["count"] for b in bins)
        text = f"It is not known of {counted(unknown, 'particle')}." if unknown else ""
        sections.append(Section(title=f"By {label}", text=text, head=head, rows=rows, level=3))
    first = METHODS[next(iter(report["binned_metrics"]["num_voxels"]))].title
    whole = Section(
        title="Accuracy by energy and size",
        text="Accuracy, per cent, in bins of equally many particles; the last column is the most "
        f"frequent error of the first method ({first}).",
        figure="binned_metrics",
    )
    return [whole, *sections]


def _most_frequent_error(confusion: Sequence[Sequence[float]]) -> str:
    """Name the most frequent error of a confusion matrix."""
    counts = np.array(confusion)
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    true, predicted = np.unravel_index(errors.argmax(), errors.shape)
    if not errors.any():
        return "nothing"
    share = 100 * errors[true, predicted] / counts[true].sum()
    return f"{CLASS_NAMES[true]} taken for {CLASS_NAMES[predicted]} ({share:.0f} %)"


def _map(report: Mapping[str, Any]) -> list[Section]:
    mapped = counted(report["map"]["particles"], "particle")
    train, test = (report["options"][f"{name}_split"] for name in ("train", "test"))
    return [
        Section(
            title="The embedding",
            text=f"t-SNE of the features of {mapped} of the {test} split. Particles that are close "
            "are similar; distances between distant groups mean little.",
            figure="map",
        ),
        Section(
            title="Nearest neighbours",
            text=f"Particles of the {test} split (thick frame) and their nearest neighbours in the "
            f"{train} split.",
            figure="neighbours",
            level=3,
        ),
    ]
