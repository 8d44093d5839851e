"""A study as a whole: how long it will take, what it computes, and its report."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from clr_eval.cache import Arrays
from clr_eval.report.folder import LOCK, LOG, check_report_folder, locked_folder
from clr_eval.report.sections import write_report
from clr_eval.study.config import StudyConfig
from clr_eval.study.costs import describe_study, seconds_per_cost
from clr_eval.study.figures import (
    draw_confusion,
    draw_domains,
    draw_labels,
    draw_map,
    draw_stability,
)
from clr_eval.study.groups import list_groups
from clr_eval.study.metrics import (
    direction_angle,
    domain_auc,
    domain_metrics,
    energy_r2,
    stability,
)
from clr_eval.study.results import StudyResults
from clr_eval.study.text import format_results, make_sections
from clr_train.probe.classifiers import project_to_plane
from clr_train.runtime.processes import pick_device
from pilarnet_convert.console.progress import print_line, progress_bar
from pilarnet_convert.console.run_log import RunLog
from pilarnet_convert.errors import counted
from pilarnet_convert.pictures import require_matplotlib
from pilarnet_convert.plan import Part
from pilarnet_convert.storage.remote import as_path

__all__ = ["run_study"]

_FORMAT: Final = "pilarnet-clr-study"
#: Of a study that takes longer, the estimate says how to shorten it.
_LONG_SECONDS: Final = 3600.0
_TITLE: Final = "Methods of classification on changed detectors"
_WHOLE: Final = Part(number=1, count=1)
#: Particles of each domain in the map; t-SNE takes minutes for many more.
_MAPPED: Final = 1500


def run_study(
    config: StudyConfig,
    *,
    out: str | Path,
    part: Part = _WHOLE,
    dry_run: bool = False,
    show_progress: bool = False,
) -> dict[str, Any] | None:
    """Train and predict what is missing, and write the report when nothing is.

    Parameters
    ----------
    config : StudyConfig
    out : path
        Folder of the study. What is there for the same options is not computed again.
    part : Part
        Which groups of `clr_eval.study.groups` to compute; there is no report if it is one of
        several. The parts may run at once, on several machines that share the folder.
    dry_run : bool
        Only print what would be computed and how long it will take.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.

    Returns
    -------
    dict or None
        The contents of ``report.json``; None for a part or a dry run.

    Raises
    ------
    PilarnetError
        Shards cannot be read, a split has no particles, a training fails, the folder holds
        something else, or another process computes the same part.
    """
    require_matplotlib("eval")
    folder = as_path(out)
    check_report_folder(folder, kind=_FORMAT, others={LOCK})
    groups = list_groups(config)[part.number - 1 :: part.count]
    study = StudyResults(config, out=folder, show_progress=show_progress)
    left = sum(map(study.cost_left, groups))
    lines = [*describe_study(config, groups=groups), _tell_time(config, left)]
    for line in lines:
        print_line(line)
    if dry_run:
        return None
    _ = study.domains  # read here, so that one without particles is found before any training
    results: dict[str, list[Arrays]] = {name: [] for name in config.methods}
    facts = {
        "device": str(pick_device(config.train.device)),
        "study": "; ".join(line.strip() for line in lines),
    }
    with (
        locked_folder(folder, name=f"{LOCK}-{part.number}-of-{part.count}"),
        RunLog(folder / LOG, facts=facts) as log,
        progress_bar(
            total=left, unit="", description="study", show=show_progress, log=log.write
        ) as bar,
    ):
        study.progress.begin(bar)
        for group in groups:
            for name in group.methods:
                results[name].append(study.result(name, seed=group.seed))
        if part.count > 1:
            print_line(f"part {part} is done: {counted(len(groups), 'run')}, in {folder}")
            return None
        study.progress.say("report")
        report = _report(config, study, results, out=folder)
        log.write(format_results(report))
        return report


def _tell_time(config: StudyConfig, cost: float) -> str:
    """Estimate the time that is left; if it is long, say how to shorten it."""
    if not cost:
        return "  nothing is missing"
    seconds = cost * seconds_per_cost(config)
    hours, minutes = divmod(max(1, round(seconds / 60)), 60)
    line = f"  about {hours} h {minutes} min" if hours else f"  about {minutes} min"
    line += " for what is missing, extrapolated from a few particles on this machine"
    if seconds > _LONG_SECONDS:
        line += (
            "; fewer methods, seeds or label-counts, a smaller max-steps in [train], or --part on "
            "several machines shorten it"
        )
    return line


def _report(
    config: StudyConfig, study: StudyResults, results: dict[str, list[Arrays]], *, out: Path
) -> dict[str, Any]:
    counts = {str(count or "all"): count for count in config.label_counts}
    report: dict[str, Any] = {
        "format": _FORMAT,
        "version": 1,
        "setup": _setup(config),
        "domains": {name: len(split) for name, split in study.domains.items()},
        "num_labels": {
            name: len(study.labelled(count, seed=config.seeds[0])) for name, count in counts.items()
        },
        "results": {
            name: {
                method: domain_metrics(
                    found, domains=study.domains, count=count, resamples=config.resamples
                )
                for method, found in results.items()
            }
            for name, count in counts.items()
        },
        "stability": {
            method: _stability(found, study, count=config.label_counts[-1])
            for method, found in results.items()
        },
        "features": {
            method: _feature_metrics(found, study)
            for method, found in results.items()
            if "train_features" in found[0]
        },
    }
    # Of one method: a map takes minutes.
    report["map"] = next(iter(report["features"]), None)
    _draw(report, study, results, out=out)
    write_report(report, make_sections(report), title=_TITLE, folder=out)
    return report


def _stability(
    results: Sequence[Arrays], study: StudyResults, *, count: int | None
) -> dict[str, dict[str, float]]:
    """Compare the particles of each domain with those of the first, where there are the same."""
    first, *others = study.domains
    found = {
        domain: stability(
            results, reference=first, domain=domain, domains=study.domains, count=count
        )
        for domain in others
    }
    return {domain: metrics for domain, metrics in found.items() if metrics is not None}


def _feature_metrics(results: Sequence[Arrays], study: StudyResults) -> dict[str, Any]:
    """Measure what frozen features hold: the domain, the energy and the direction."""
    first, *others = study.domains
    train, domains = study.train, study.domains
    return {
        "domain_auc": {d: domain_auc(results, reference=first, domain=d) for d in others},
        "energy_r2": energy_r2(results[0], train=train, domains=domains),
        "direction_deg": direction_angle(results[0], train=train, domains=domains),
    }


def _setup(config: StudyConfig) -> dict[str, Any]:
    """Describe what is compared, and how networks are trained."""
    return {
        "nominal": config.nominal,
        "target": config.target,
        "domains": {name: domain.summary for name, domain in config.domains.items()},
        "seeds": list(config.seeds),
        "train": {
            name: getattr(config.train, name)
            for name in ("model", "epochs", "max_steps", "batch_size", "lr", "augmentations")
        },
        "fit": dataclasses.asdict(config.fit),
    }


def _draw(
    report: dict[str, Any], study: StudyResults, results: dict[str, list[Arrays]], *, out: Path
) -> None:
    domains, last = list(report["domains"]), list(report["results"].values())[-1]
    draw_domains(last, domains=domains, path=out / "domains")
    if len(report["results"]) > 1:
        counts = report["num_labels"]
        draw_labels(report["results"], counts=counts, domains=domains, path=out / "labels")
    if any(report["stability"].values()):
        paired = [d for d in domains[1:] if all(d in m for m in report["stability"].values())]
        draw_stability(report["stability"], domains=paired, path=out / "stability")
    for name, metrics in last.items():
        draw_confusion(metrics, domains=domains, path=out / f"confusion-{name}")
    mapped = report["map"]
    if mapped is None:
        return
    # The first two: in more, each would be hidden by the others.
    drawn = domains[:2]
    values = [results[mapped][0][f"{name}/features"][:_MAPPED] for name in drawn]
    labels = [study.domains[name].label[:_MAPPED] for name in drawn]
    draw_map(
        project_to_plane(np.concatenate(values), seed=0),
        label=np.concatenate(labels),
        domain=np.repeat(np.arange(len(drawn)), [len(v) for v in values]),
        domains=drawn,
        path=out / "map",
    )
