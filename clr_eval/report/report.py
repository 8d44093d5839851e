"""The report as a whole: predictions, metrics, pictures and text."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.binned_metrics import QUANTITIES, binned_metrics
from clr_eval.config import EvalConfig
from clr_eval.embedding.split import LoadedSplit
from clr_eval.embedding_map import embedding_map, example_neighbours, num_mapped
from clr_eval.evaluation import Evaluation, Trial
from clr_eval.methods import METHODS, main_methods
from clr_eval.metrics import probability_metrics
from clr_eval.report.figures import (
    draw_binned_metrics,
    draw_confusion,
    draw_fractions,
    draw_map,
    draw_nearest,
    draw_robustness,
)
from clr_eval.report.folder import LOG, RESULTS, RUNS, check_report_folder, locked_folder
from clr_eval.report.sections import write_report
from clr_eval.report.text import format_results, make_sections
from clr_eval.robustness import robustness
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.console.run_log import RunLog
from pilarnet_convert.pictures import require_matplotlib
from pilarnet_convert.shards.reader import path_strings
from pilarnet_convert.species import CLASS_NAMES, CLASSES, COLOURS
from pilarnet_convert.storage.remote import as_path

__all__ = ["evaluate"]

FORMAT: Final = "pilarnet-clr-report"
VERSION: Final = 2
_TITLE: Final = "Evaluation of a pretrained encoder"
_RESAMPLING_SEED: Final = 0


def evaluate(config: EvalConfig, *, show_progress: bool = False) -> dict[str, Any]:
    """Evaluate a pretrained encoder and write a report.

    Parameters
    ----------
    config : EvalConfig
        What to evaluate. Results kept in ``config.out`` for the same checkpoint, shards and
        options are not computed again, so that an interrupted report continues.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.

    Returns
    -------
    dict
        The contents of ``report.json``; ``report.html``, ``report.md``, ``log.txt`` and the
        pictures are beside it.

    Raises
    ------
    PilarnetError
        If the checkpoint or the shards cannot be read, a split has no particles, the folder holds
        something else, another process writes into it, or a loss or a feature is not finite.
    """
    out = as_path(config.out)
    require_matplotlib("eval")
    check_report_folder(out, kind=FORMAT, others={RUNS})
    evaluation = Evaluation(config, folder=out / RESULTS)
    methods = [name for name, method in METHODS.items() if method.part in config.parts]
    pairs = [(name, fraction) for name in methods for fraction in config.fractions]
    trials = [trial for pair in pairs for trial in evaluation.trials(*pair)]
    report = _describe(evaluation)
    with (
        locked_folder(out),
        RunLog(out / LOG, facts={"device": evaluation.learner.device_facts}) as log,
        progress_bar(
            total=_total_cost(evaluation, trials),
            unit="",
            description="evaluate",
            show=show_progress,
            log=log.write,
            advice="fewer --parts, --fractions or --seeds, --max-particles or a GPU shorten it",
        ) as bar,
    ):
        evaluation.progress.begin(bar)
        _evaluate(evaluation, report, pairs)
        particle_map = _map(evaluation, report, out) if "map" in config.parts else None
        evaluation.say("pictures")
        _draw(report, config, out)
        sections = make_sections(report)
        write_report(report, sections, title=_TITLE, folder=out, particle_map=particle_map)
        if report["results"]:
            log.write(format_results(report))
    return report


def _total_cost(evaluation: Evaluation, trials: Sequence[Trial]) -> float:
    """Estimate the seconds that a report takes, see `clr_eval.progress`."""
    config, costs, tested = evaluation.config, evaluation.costs, len(evaluation.test)
    cost = sum(evaluation.cost(trial) for trial in trials)
    both = len(evaluation.train) + tested
    cost += sum(costs.features(kind, particles=both) for kind in _kinds(config))
    if "robustness" in config.parts:
        main = main_methods([trial.name for trial in trials])
        chosen = [t for t in trials if t.name in main and t.fraction == config.largest_fraction]
        cost += sum(costs.robustness(trial.method, tested=tested) for trial in chosen)
    if "map" in config.parts:
        cost += costs.map(particles=num_mapped(evaluation))
    return cost


def _kinds(config: EvalConfig) -> list[str]:
    """List the features that are needed."""
    kinds = {m.features for m in METHODS.values() if m.part in config.parts and m.features}
    # Handcrafted features last: they take no time, so they tell nothing about the time left.
    return sorted(kinds | ({"trained"} if "map" in config.parts else set()), reverse=True)


def _evaluate(
    evaluation: Evaluation, report: dict[str, Any], pairs: Sequence[tuple[str, float]]
) -> None:
    """Compute the results of methods at fractions, and the other parts that were chosen."""
    config = evaluation.config
    for kind in _kinds(config):
        for split in ("train", "test"):
            evaluation.features(kind, split)
    for pair in pairs:
        for trial in evaluation.trials(*pair):
            evaluation.probabilities(trial)
    evaluation.say("metrics")
    report["results"] = [_result(evaluation, *pair) for pair in pairs]
    main = main_methods([name for name, _ in pairs])
    if "robustness" in config.parts:
        report["robustness"] = robustness(evaluation, methods=main)
    if "by-energy" in config.parts:
        report["binned_metrics"] = _binned_metrics(evaluation, main)


def _describe(evaluation: Evaluation) -> dict[str, Any]:
    """Describe the encoder, the particles and the options."""
    config, encoder = evaluation.config, evaluation.learner.model.encoder
    options = dataclasses.asdict(config)
    del options["checkpoint"], options["shards"], options["out"]
    return {
        "format": FORMAT,
        "version": VERSION,
        "checkpoint": {
            "path": config.checkpoint,
            "sha256": evaluation.identity["checkpoint"],
            "step": evaluation.step,
            "model": evaluation.learner.config.model,
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "features": encoder.out_features,
        },
        "shards": {
            "path": ", ".join(path_strings(config.shards)),
            "checksum": evaluation.identity["shards"],
            "train": {"counts": _counts(evaluation.train)},
            "test": {"counts": _counts(evaluation.test)},
        },
        "options": options,
        "classes": list(CLASS_NAMES),
        "methods": {name: method.title for name, method in METHODS.items()},
    }


def _counts(particles: LoadedSplit) -> dict[str, int]:
    counts = np.bincount(particles.label, minlength=len(CLASSES))
    return {species.name: int(counts[species.label]) for species in CLASSES}


def _probabilities(evaluation: Evaluation, method: str, fraction: float) -> NDArray[np.float64]:
    """Predict by all trials of a method, float64 [seeds, N, classes]."""
    trials = evaluation.trials(method, fraction)
    return np.stack([evaluation.probabilities(trial) for trial in trials])


def _result(evaluation: Evaluation, method: str, fraction: float) -> dict[str, Any]:
    """Compute the metrics of a method at a fraction of the labels."""
    trials = evaluation.trials(method, fraction)
    return {
        "method": method,
        "fraction": fraction,
        "num_labelled": len(evaluation.labelled(trials[0])),
        "seeds": [trial.seed for trial in trials],
        **probability_metrics(
            evaluation.test.label,
            _probabilities(evaluation, method, fraction),
            resamples=evaluation.config.resamples,
            seed=_RESAMPLING_SEED,
        ),
    }


def _binned_metrics(evaluation: Evaluation, methods: Sequence[str]) -> dict[str, Any]:
    """Compute the metrics of methods in bins of each quantity, at the largest fraction."""
    fraction = evaluation.config.largest_fraction
    predicted = {m: _probabilities(evaluation, m, fraction).argmax(axis=2) for m in methods}
    return {
        quantity: {
            method: binned_metrics(
                evaluation.test.columns[quantity],
                truth=evaluation.test.label,
                predicted=predicted[method],
                resamples=evaluation.config.resamples,
                seed=_RESAMPLING_SEED,
            )
            for method in methods
        }
        for quantity in QUANTITIES
    }


def _map(evaluation: Evaluation, report: dict[str, Any], out: Path) -> dict[str, Any]:
    """Compute and draw the map and neighbours of a few particles; return the map of the page."""
    train, test = evaluation.train, evaluation.test
    found = embedding_map(evaluation)
    neighbours = example_neighbours(evaluation)
    draw_map(found["place"], rows=found["rows"], particles=test, path=out / "map.png")
    draw_nearest(neighbours, test=test, train=train, path=out / "neighbours.png")
    report["map"] = {
        "particles": len(found["rows"]),
        "neighbours": {name: value.tolist() for name, value in neighbours.items()},
    }
    return _page_map(found["place"], particles=test, rows=found["rows"])


def _page_map(
    place: NDArray[np.float32], *, particles: LoadedSplit, rows: NDArray[np.int64]
) -> dict[str, Any]:
    """Describe the particles of the map, at `place` [n, 2], for `clr_eval.report.sections`."""
    columns = {name: values[rows].tolist() for name, values in particles.columns.items()}
    names = ("num_voxels", "energy_deposit", "run", "event", "cluster")
    return {
        "x": place[:, 0].round(2).tolist(),
        "y": place[:, 1].round(2).tolist(),
        "class": particles.label[rows].tolist(),
        "facts": [
            f"{voxels:,} voxels, {_in_mev(energy)}, run {run}, event {event}, cluster {cluster}"
            for voxels, energy, run, event, cluster in zip(*map(columns.get, names), strict=True)
        ],
        "names": list(CLASS_NAMES),
        "colours": [COLOURS[name] for name in CLASS_NAMES],
    }


def _in_mev(energy: float) -> str:
    return f"{energy:,.1f} MeV" if np.isfinite(energy) else "energy not known"


def _draw(report: dict[str, Any], config: EvalConfig, out: Path) -> None:
    if report["results"]:
        draw_fractions(report["results"], path=out / "label_fractions.png")
        draw_confusion(
            report["results"], fraction=config.largest_fraction, path=out / "confusion.png"
        )
    if "robustness" in report:
        draw_robustness(report["robustness"], path=out / "robustness.png")
    if "binned_metrics" in report:
        draw_binned_metrics(report["binned_metrics"], path=out / "binned_metrics.png")
