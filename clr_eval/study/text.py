"""The report of a study in sections."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from clr_eval.report.sections import Section, as_percent, as_rate
from clr_eval.study.methods import STUDY_METHODS
from pilarnet_convert.shards.tables import format_table

__all__ = ["format_results", "make_sections"]


def format_results(report: Mapping[str, Any]) -> str:
    """Write the balanced accuracies from the most labels as a table for a terminal."""
    count, methods = list(report["results"].items())[-1]
    table = {"name": [STUDY_METHODS[name].title for name in methods]}
    for domain in report["domains"]:
        found = (metrics[domain]["balanced_accuracy"] for metrics in methods.values())
        table[domain] = [as_percent(rate) for rate in found]
    labels = f"{report['num_labels'][count]:,} labels"
    return f"balanced accuracy [%] in each domain, from {labels}\n\n{format_table(table)}"


def make_sections(report: Mapping[str, Any]) -> list[Section]:
    """Write the contents of report.json as sections."""
    sections = [_accuracy(report, count) for count in report["results"]]
    *_, most_labels = report["results"].values()
    if len(sections) > 1:
        sections.append(
            Section(title="Label efficiency", text="From the tables above.", figure="labels")
        )
    sections += [_stability(report), _features(report)]
    sections += [
        Section(
            title=f"Confusion: {STUDY_METHODS[name].title}",
            text="From the most labels; each row adds up to 100 %.",
            figure=f"confusion-{name}",
        )
        for name in most_labels
    ]
    if report["map"]:
        sections.append(
            Section(
                title=f"Map of the features: {STUDY_METHODS[report['map']].title}",
                text="The first two domains in one t-SNE, of the first seed.",
                figure="map",
            )
        )
    return sections


def _accuracy(report: Mapping[str, Any], count: str) -> Section:
    """Write the accuracy of all methods in all domains, learnt from `count` labels."""
    reference, *others = domains = list(report["domains"])
    rows = []
    for name, metrics in report["results"][count].items():
        cells = [as_rate(metrics[d]["balanced_accuracy"]) for d in domains]
        cells += [_difference(metrics[d]["difference"]) for d in others]
        cells += [as_percent(metrics[d]["accuracy"]) for d in domains]
        rows.append([STUDY_METHODS[name].title, *cells])
    head = ["method", *(f"balanced, {d}" for d in domains)]
    head += [f"{d} - {reference}" for d in others] + [f"accuracy, {d}" for d in domains]
    return Section(
        title=f"Accuracy from {report['num_labels'][count]:,} labels",
        text="Per cent, mean over the seeds; after ± the standard deviation over the seeds, in "
        "brackets the 95 % bootstrap interval over the particles. The labels are those of the "
        "nominal set.",
        head=head,
        rows=rows,
        figure="domains" if count == list(report["results"])[-1] else None,
    )


def _stability(report: Mapping[str, Any]) -> Section:
    rows = [
        [
            STUDY_METHODS[name].title, domain, f"{found['particles']:,}",
            f"{found['probability']:.3f}", f"{100 * found['same_class']:.1f}",
            f"{found['cosine']:.3f}" if "cosine" in found else "",
        ]
        for name, by_domain in report["stability"].items()
        for domain, found in by_domain.items()
    ]  # fmt: skip
    return Section(
        title="Stability of single particles",
        text="The same particles in the first domain and in another, matched by event and track: "
        "the mean change of the probability of the true class, the share assigned to the same "
        "class, and the mean cosine of the features. Mean over the seeds.",
        head=["method", "domain", "particles", "change of p", "same class [%]", "cosine"],
        rows=rows,
        figure="stability" if rows else None,
    )


def _features(report: Mapping[str, Any]) -> Section:
    rows = []
    for name, found in report["features"].items():
        for domain in report["domains"]:
            auc = found["domain_auc"].get(domain)
            r2 = found["energy_r2"].get(domain)
            energies = ["", ""] if r2 is None else [f"{r2[k]:.3f}" for k in ("features", "sum")]
            angle = found["direction_deg"].get(domain)
            angles = (
                ["", ""] if angle is None else [f"{angle[k]:.0f}" for k in ("features", "axis")]
            )
            rows.append(
                [
                    STUDY_METHODS[name].title, domain, "" if auc is None else f"{auc:.3f}",
                    *energies, *angles,
                ]
            )  # fmt: skip
    return Section(
        title="What the frozen features hold",
        text="Whether a linear classifier tells the domain from the first one (area under the ROC "
        "curve, 0.5 if it cannot). R^2 of the logarithm of the deposited energy, read by a ridge "
        "regression from the features and from the sum of the energies. The angle to the line of "
        "the momentum at creation within which 68 % of the particles are, degrees, of a ridge "
        "regression from the features and of the principal axis; 71 if it is guessed. The energy "
        "and the direction are of the first seed.",
        head=[
            *("method", "domain", "domain AUC", "energy, features", "energy, sum"),
            *("angle, features", "angle, axis"),
        ],
        rows=rows,
    )


def _difference(difference: Mapping[str, Any]) -> str:
    spread = "" if difference["spread"] is None else f" ± {100 * difference['spread']:.1f}"
    return f"{100 * difference['value']:+.1f}{spread}"
