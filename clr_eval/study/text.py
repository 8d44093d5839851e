"""The report of a study in sections."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clr_eval.report.sections import Section, as_percent, as_rate
from clr_eval.study.methods import STUDY_METHODS
from pilarnet_convert.errors import counted
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
    sections = [_setup(report)]
    for count in report["results"]:
        sections += _accuracy(report, count)
    *_, most_labels = report["results"].values()
    if len(report["results"]) > 1:
        sections.append(
            Section(
                title="Balanced accuracy over the number of labels",
                text="Means over the seeds, a panel for each domain; curves are drawn side by "
                "side.",
                figure="labels",
            )
        )
    sections += [_stability(report), _features(report)]
    text = "From the most labels, mean over the seeds; per cent, each row adds up to 100."
    sections.append(Section(title="Confusion matrices", text=text))
    sections += [
        Section(title=STUDY_METHODS[name].title, text="", figure=f"confusion-{name}", level=3)
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


def _setup(report: Mapping[str, Any]) -> Section:
    """Describe what is compared, and how networks are trained."""
    setup, counts = report["setup"], report["num_labels"]
    train, fit = setup["train"], setup["fit"]
    labels = " or ".join(f"{count:,}" for count in counts.values())
    rate = "" if train["lr"] is None else f", learning rate {train['lr']:g}"
    most = "" if train["max_steps"] is None else f", at most {counted(train['max_steps'], 'step')}"
    rows = [
        ["nominal", f"{setup['nominal']}: {labels} labels of its train split"],
        *([["target", f"{setup['target']}: without labels"]] if setup["target"] else []),
        *(
            [f"domain {name}", f"{counted(report['domains'][name], 'particle')}: {summary}"]
            for name, summary in setup["domains"].items()
        ),
        ["seeds", ", ".join(map(str, setup["seeds"]))],
        [
            "pretraining",
            f"{train['model']}, {counted(train['epochs'], 'epoch')}{most}, "
            f"batches of {train['batch_size']}{rate}",
        ],
        [
            "fitted networks",
            f"{counted(fit['epochs'], 'epoch')}, at least {counted(fit['min_steps'], 'step')}, "
            f"batches of {fit['batch_size']}, learning rate {fit['lr']:g}, or "
            f"{fit['finetune_lr']:g} where they were pretrained",
        ],
    ]
    return Section(
        title="What is compared",
        text="Each method learns from labels of the nominal set, and is tested on particles of "
        "every domain. The first domain is the reference.",
        head=["", ""],
        rows=rows,
    )


def _accuracy(report: Mapping[str, Any], count: str) -> list[Section]:
    """Make the tables of a number of labels; the figure goes with the largest."""
    domains, methods = list(report["domains"]), report["results"][count]
    largest = count == list(report["results"])[-1]

    def table(
        title: str, cells: Callable[[Any], list[str]], head: list[str], figure: str | None = None
    ) -> Section:
        rows = [[STUDY_METHODS[name].title, *cells(found)] for name, found in methods.items()]
        head = ["method", *head]
        return Section(title=title, text="", head=head, rows=rows, figure=figure, level=3)

    return [
        Section(
            title=f"From {report['num_labels'][count]:,} labels",
            text="Per cent. Mean over the seeds ± their standard deviation; in brackets the 95 % "
            "bootstrap interval, by drawing the tested particles anew.",
        ),
        table(
            "Balanced accuracy [%]",
            lambda found: [as_rate(found[d]["balanced_accuracy"]) for d in domains],
            domains,
            figure="domains" if largest else None,
        ),
        table(
            f"Balanced accuracy less that on {domains[0]} [percentage points]",
            lambda found: [_difference(found[d]["difference"]) for d in domains[1:]],
            domains[1:],
        ),
        table(
            "Accuracy [%]",
            lambda found: [as_percent(found[d]["accuracy"]) for d in domains],
            domains,
        ),
    ]


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
        "the mean absolute change of the probability of the true class, the share assigned to "
        "the same class, and the mean cosine between the features. Means over the seeds.",
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
        text="Domain AUC: the area under the ROC curve of a linear classifier that tells the "
        "domain from the first one; 0.5 if it cannot. Energy: R\u00b2 of the logarithm of "
        "the deposited energy, as a ridge regression predicts it from the features, and for "
        "comparison from the sum of the voxels' energies. Angle, in degrees: 68 % of the "
        "directions that a ridge regression predicts from the features, and for comparison "
        "of the longest principal axes, are within this angle of the line of the momentum "
        "at creation; for random directions it is 71. Energy and angle are of the first "
        "seed.",
        head=[
            *("method", "domain", "domain AUC", "energy, features", "energy, sum"),
            *("angle, features", "angle, axis"),
        ],
        rows=rows,
    )


def _difference(difference: Mapping[str, Any]) -> str:
    spread = "" if difference["spread"] is None else f" ± {100 * difference['spread']:.1f}"
    return f"{100 * difference['value']:+z.1f}{spread}".replace("-", "\u2212")
