"""The text of a report, in Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from clr_eval.binned_metrics import QUANTITIES
from clr_eval.methods import CLASS_WEIGHTS, METHODS
from pilarnet_convert.species import CLASS_NAMES

__all__ = ["write_markdown"]


def write_markdown(report: Mapping[str, Any]) -> str:
    """Write the contents of report.json as Markdown; parts that it lacks are left out."""
    parts = [_head(report)]
    if report["results"]:
        parts += [_results(report), _classes(report)]
    if "robustness" in report:
        parts.append(_robustness(report))
    if "binned_metrics" in report:
        parts.append(_binned_metrics(report))
    if "map" in report:
        parts.append(_map(report))
    return "\n\n".join(parts) + "\n"


def _head(report: Mapping[str, Any]) -> str:
    options = report["options"]
    rows = [
        ["checkpoint", f"`{report['checkpoint']['path']}`, step {report['checkpoint']['step']:,}"],
        ["encoder", f"{report['checkpoint']['model']}, {report['checkpoint']['parameters']:,} "
         f"parameters, {report['checkpoint']['features']} features of a particle"],
        ["shards", f"`{report['shards']['path']}`"],
    ]  # fmt: skip
    for split in ("train", "test"):
        counts = report["shards"][split]["counts"]
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        name = options[f"{split}_split"]
        rows.append([f"{name} split", f"{sum(counts.values()):,} particles: {listed}"])
    return "# Evaluation of a pretrained encoder\n\n" + _table(["", ""], rows)


def _results(report: Mapping[str, Any]) -> str:
    results = report["results"]
    fractions = sorted({r["fraction"] for r in results})
    by_place = {(r["method"], r["fraction"]): r for r in results}
    rows = []
    for name in METHODS:
        if any((name, f) in by_place for f in fractions):
            cells = [_interval(by_place[name, f]["balanced_accuracy"]) for f in fractions]
            best = by_place[name, fractions[-1]]
            rows.append(
                [METHODS[name].title, *cells, _interval(best["accuracy"]), _percent(best["auc"])]
            )
    labels = {r["fraction"]: r["num_labelled"] for r in results}
    head = [
        "method",
        *(f"{100 * f:.4g} % of the labels ({labels[f]:,})" for f in fractions),
        f"accuracy at {100 * fractions[-1]:.4g} %",
        f"ROC AUC at {100 * fractions[-1]:.4g} %",
    ]
    return _section(
        "Labels and accuracy",
        "Balanced accuracy on the test split, per cent, with the 95 % bootstrap interval of "
        "the mean over the seeds, and after ± the standard deviation over the seeds where "
        "there are several. " + CLASS_WEIGHTS[report["options"]["class_weight"]],
        _table(head, rows),
        "![balanced accuracy over the number of labels](label_fractions.png)",
    )


def _classes(report: Mapping[str, Any]) -> str:
    largest = max(r["fraction"] for r in report["results"])
    rows = []
    for result in report["results"]:
        if result["fraction"] == largest:
            metrics = [
                [result["classes"][name][kind] for kind in ("efficiency", "purity", "auc")]
                for name in CLASS_NAMES
            ]
            cells = [" / ".join(_percent(m, digits=0) for m in three) for three in metrics]
            rows.append([METHODS[result["method"]].title, *cells])
    return _section(
        "Classes",
        "Efficiency / purity / ROC AUC against the rest, per cent, at "
        f"{100 * largest:.4g} % of the labels. Intervals and every seed are in report.json.",
        _table(["method", *CLASS_NAMES], rows),
        "![confusion matrices](confusion.png)",
    )


def _robustness(report: Mapping[str, Any]) -> str:
    sections = []
    for corruption in report["robustness"].values():
        unit, suffix = (100, " %") if "%" in corruption["axis"] else (1, "")
        head = [corruption["axis"], *(f"{unit * v:g}{suffix}" for v in corruption["levels"])]
        rows = [
            [METHODS[name].title, *(_percent(v) for v in curves["balanced_accuracy"])]
            for name, curves in corruption["methods"].items()
        ]
        sections.append(f"**{corruption['title']}**\n\n" + _table(head, rows))
    return _section(
        "Robustness",
        "Balanced accuracy, per cent, on corrupted test data; the training data are as stored.",
        *sections,
        "![balanced accuracy on corrupted data](robustness.png)",
    )


def _binned_metrics(report: Mapping[str, Any]) -> str:
    sections = []
    for quantity, label in QUANTITIES.items():
        methods = report["binned_metrics"][quantity]
        bins = next(iter(methods.values()))
        titles = [METHODS[name].title for name in methods]
        head = [label, "particles", *titles, "most frequent error"]
        rows = [
            [
                f"{b['low']:.4g} to {b['high']:.4g}",
                f"{b['count']:,}",
                *(_interval(found[i]["accuracy"]) for found in methods.values()),
                _most_frequent_error(b["confusion"]),
            ]
            for i, b in enumerate(bins)
        ]
        sections.append(_table(head, rows))
    first = METHODS[next(iter(report["binned_metrics"]["num_voxels"]))].title
    return _section(
        "Accuracy by energy and size",
        "Accuracy, per cent, in bins of equally many particles; the last column is the most "
        f"frequent error of the first method ({first}).",
        *sections,
        "![accuracy by energy and by number of voxels](binned_metrics.png)",
    )


def _most_frequent_error(confusion: Sequence[Sequence[float]]) -> str:
    """Name the most frequent error of a confusion matrix."""
    counts = np.array(confusion)
    errors = np.where(np.eye(len(counts), dtype=bool), 0, counts)
    true, predicted = np.unravel_index(errors.argmax(), errors.shape)
    if not errors.any():
        return "nothing"
    share = 100 * errors[true, predicted] / counts[true].sum()
    return f"{CLASS_NAMES[true]} taken for {CLASS_NAMES[predicted]} ({share:.0f} %)"


def _map(report: Mapping[str, Any]) -> str:
    return _section(
        "The embedding",
        f"t-SNE of the features of {report['map']['particles']:,} particles of the test split. "
        "Particles that are close are similar; distances between distant groups mean little.",
        "![map of the embedding](map.png)",
        "Particles of the test split (thick frame) and their nearest neighbours in the "
        "training split.",
        "![nearest neighbours](neighbours.png)",
    )


def _section(title: str, *paragraphs: str) -> str:
    return "\n\n".join([f"## {title}", *paragraphs])


def _interval(metric: Mapping[str, Any]) -> str:
    text = _percent(metric)
    if metric["spread"] is not None:
        text += f" ± {100 * metric['spread']:.1f}"
    if metric["low"] is not None:
        text += f" ({100 * metric['low']:.1f} to {100 * metric['high']:.1f})"
    return text


def _percent(metric: Mapping[str, Any], *, digits: int = 1) -> str:
    return "-" if metric["value"] is None else f"{100 * metric['value']:.{digits}f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
