"""A report as Markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from clr_eval.binned_metrics import QUANTITIES
from clr_eval.methods import CLASS_WEIGHTS, METHODS
from pilarnet_convert.species import CLASSES

__all__ = ["write_markdown"]

_NAMES: Final = tuple(species.name for species in CLASSES)


def write_markdown(report: Mapping[str, Any]) -> str:
    """Write what report.json holds for people.

    Parameters
    ----------
    report : mapping
        The report; parts that it lacks are left out.

    Returns
    -------
    str
    """
    parts = [_head(report)]
    if report["results"]:
        parts += [_results(report), _classes(report)]
    if "robustness" in report:
        parts.append(_robustness(report))
    if "failures" in report:
        parts.append(_failures(report))
    if "map" in report:
        parts.append(_map(report))
    return "\n\n".join(parts) + "\n"


def _head(report: Mapping[str, Any]) -> str:
    options = report["options"]
    rows = [
        ["checkpoint", f"`{report['checkpoint']['path']}`, step {report['checkpoint']['step']:,}"],
        ["encoder", f"{report['checkpoint']['model']}, {report['checkpoint']['parameters']:,} "
         f"parameters, {report['checkpoint']['features']} features a particle"],
        ["shards", f"`{report['shards']['path']}`"],
    ]  # fmt: skip
    for split in ("train", "test"):
        counts = report["shards"][split]["counts"]
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        name = options[f"{split}_split"]
        rows.append([f"{name} split", f"{sum(counts.values()):,} particles: {listed}"])
    return "# What the encoder is worth\n\n" + _table(["", ""], rows)


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
                [METHODS[name].title, *cells, _interval(best["accuracy"]), _plain(best["auc"])]
            )
    labels = {r["fraction"]: r["num_labelled"] for r in results}
    head = [
        "method",
        *(f"{100 * f:.4g} % of the labels ({labels[f]:,})" for f in fractions),
        f"accuracy at {100 * fractions[-1]:.4g} %",
        f"ROC AUC at {100 * fractions[-1]:.4g} %",
    ]
    return "\n\n".join(
        [
            "## Labels and accuracy",
            "Balanced accuracy on the test split, per cent, with the 95 % bootstrap interval of "
            "the mean over the seeds, and after ± the standard deviation over the seeds where "
            "there are several. " + CLASS_WEIGHTS[report["options"]["class_weight"]],
            _table(head, rows),
            "![balanced accuracy over the number of labels](label_fractions.png)",
        ]
    )


def _classes(report: Mapping[str, Any]) -> str:
    largest = max(r["fraction"] for r in report["results"])
    rows = [
        [
            METHODS[r["method"]].title,
            *(
                " / ".join(_short(r["classes"][n][k]) for k in ("efficiency", "purity", "auc"))
                for n in _NAMES
            ),
        ]
        for r in report["results"]
        if r["fraction"] == largest
    ]
    return "\n\n".join(
        [
            "## Classes",
            "Efficiency / purity / ROC AUC against the rest, per cent, at "
            f"{100 * largest:.4g} % of the labels. Intervals and every seed are in report.json.",
            _table(["method", *_NAMES], rows),
            "![confusion matrices](confusion.png)",
        ]
    )


def _robustness(report: Mapping[str, Any]) -> str:
    sections = []
    for disturbance in report["robustness"].values():
        unit, suffix = (100, " %") if "%" in disturbance["axis"] else (1, "")
        head = [disturbance["axis"], *(f"{unit * v:g}{suffix}" for v in disturbance["levels"])]
        rows = [
            [METHODS[name].title, *(_plain(v) for v in curves["balanced_accuracy"])]
            for name, curves in disturbance["methods"].items()
        ]
        sections.append(f"**{disturbance['title']}**\n\n" + _table(head, rows))
    return "\n\n".join(
        [
            "## Robustness",
            "Balanced accuracy, per cent, when the test data are made worse and the training data "
            "are not.",
            *sections,
            "![balanced accuracy on disturbed data](robustness.png)",
        ]
    )


def _failures(report: Mapping[str, Any]) -> str:
    sections = []
    for quantity, label in QUANTITIES.items():
        methods = report["failures"][quantity]
        bins = next(iter(methods.values()))
        head = [label, "particles", *(METHODS[name].title for name in methods), "confused most"]
        rows = [
            [
                f"{b['low']:.4g} to {b['high']:.4g}",
                f"{b['count']:,}",
                *(_interval(found[i]["accuracy"]) for found in methods.values()),
                _worst(b["confusion"]),
            ]
            for i, b in enumerate(bins)
        ]
        sections.append(_table(head, rows))
    first = METHODS[next(iter(report["failures"]["num_voxels"]))].title
    return "\n\n".join(
        [
            "## Where it fails",
            "Accuracy, per cent, in bins of equally many particles; the last column is the most "
            f"frequent error of the first method ({first}).",
            *sections,
            "![accuracy by energy and by number of voxels](failures.png)",
        ]
    )


def _worst(confusion: Sequence[Sequence[float]]) -> str:
    count, true, called = max(
        (confusion[i][j], -i, -j) for i in range(len(_NAMES)) for j in range(len(_NAMES)) if i != j
    )
    if count == 0:
        return "nothing"
    total = sum(confusion[-true])
    return f"{_NAMES[-true]} called {_NAMES[-called]} ({100 * count / total:.0f} %)"


def _map(report: Mapping[str, Any]) -> str:
    return "\n\n".join(
        [
            "## The embedding",
            f"t-SNE of the features of {report['map']['particles']:,} particles of the test split. "
            "Distances between far groups mean little; what is close is alike.",
            "![map of the embedding](map.png)",
            "Particles of the test split (thick frame) and their nearest neighbours in the "
            "training split.",
            "![nearest neighbours](neighbours.png)",
        ]
    )


def _interval(figure: Mapping[str, Any]) -> str:
    text = _plain(figure)
    if figure["spread"] is not None:
        text += f" ± {100 * figure['spread']:.1f}"
    if figure["low"] is not None:
        text += f" ({100 * figure['low']:.1f} to {100 * figure['high']:.1f})"
    return text


def _plain(figure: Mapping[str, Any]) -> str:
    return "-" if figure["value"] is None else f"{100 * figure['value']:.1f}"


def _short(figure: Mapping[str, Any]) -> str:
    return "-" if figure["value"] is None else f"{100 * figure['value']:.0f}"


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---", *("---:" for _ in head[1:])], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)
