"""The report as a whole: predictions, metrics, pictures and text."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.binned_metrics import QUANTITIES, binned_metrics
from clr_eval.config import EvalConfig
from clr_eval.embedding.split import LoadedSplit
from clr_eval.embedding_map import embedding_map, nearest_neighbours
from clr_eval.evaluation import Evaluation
from clr_eval.methods import METHODS, main_methods
from clr_eval.metrics import probability_metrics
from clr_eval.report.figures import (
    draw_binned_metrics,
    draw_confusion,
    draw_fractions,
    draw_map,
    draw_robustness,
)
from clr_eval.report.markdown import write_markdown
from clr_eval.report.neighbours import draw_neighbours
from clr_eval.robustness import robustness
from clr_train.training.checkpoint import load_checkpoint
from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import replace_file
from pilarnet_convert.pictures import require_matplotlib
from pilarnet_convert.species import CLASS_NAMES, CLASSES

__all__ = ["evaluate"]

FORMAT: Final = "pilarnet-clr-report"
VERSION: Final = 2
_PARTS: Final = "parts"
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
        The contents of ``report.json``; ``report.md`` and the pictures are beside it.

    Raises
    ------
    PilarnetError
        If the checkpoint or the shards cannot be read, a split has no particles, the folder holds
        something else, or a loss or a feature is not finite.
    """
    out = Path(config.out)
    require_matplotlib()
    _check_unused(out)
    with progress_bar(unit="part", description="evaluate", show=show_progress) as bar:

        def say(text: str) -> None:
            bar.set_postfix_str(text, refresh=False)
            bar.update(0)

        evaluation = Evaluation(config, folder=out / _PARTS, say=say)
        methods = [name for name, method in METHODS.items() if method.part in config.parts]
        main = main_methods(methods)
        runs = [(name, fraction) for name in methods for fraction in config.fractions]
        trials = [trial for run in runs for trial in evaluation.trials(*run)]
        corrupted = [t for t in trials if t.name in main and t.fraction == config.largest_fraction]
        bar.total = (
            len(trials)
            + len(corrupted) * ("robustness" in config.parts)
            + 2 * ("map" in config.parts)
        )
        bar.refresh()

        report = _describe(evaluation)
        for trial in trials:
            evaluation.probabilities(trial)
            bar.update()
        say("metrics")
        report["results"] = [_result(evaluation, *run) for run in runs]
        if "robustness" in config.parts:
            report["robustness"] = robustness(evaluation, methods=main, advance=bar.update)
        if "by-energy" in config.parts:
            report["binned_metrics"] = _binned_metrics(evaluation, main)
        if "map" in config.parts:
            report["map"] = _map(evaluation, out, advance=bar.update)
        _draw(report, config, out)
    replace_file(out / "report.md", write_markdown(report).encode())
    replace_file(out / "report.json", f"{json.dumps(report, indent=1)}\n".encode())
    return report


def _check_unused(out: Path) -> None:
    """Check that the folder of a report is new, empty, or holds an earlier report."""
    known = (out / "report.json").exists() or (out / _PARTS).is_dir()
    if out.exists() and not known and (not out.is_dir() or any(out.iterdir())):
        raise PilarnetError(
            "the output folder is in use",
            file=out,
            field="--out",
            expected="a new folder, an empty one, or an earlier report",
            advice="choose another --out",
        )


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
            "step": int(load_checkpoint(config.checkpoint)["step"]),
            "model": evaluation.learner.config.model,
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "features": encoder.out_features,
        },
        "shards": {
            "path": config.shards,
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
    """Predictions of all trials of a method, float64 [seeds, N, classes]."""
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
    answers = {m: _probabilities(evaluation, m, fraction).argmax(axis=2) for m in methods}
    return {
        quantity: {
            method: binned_metrics(
                evaluation.test.columns[quantity],
                truth=evaluation.test.label,
                answers=answers[method],
                resamples=evaluation.config.resamples,
                seed=_RESAMPLING_SEED,
            )
            for method in methods
        }
        for quantity in QUANTITIES
    }


def _map(evaluation: Evaluation, out: Path, *, advance: Callable[[], object]) -> dict[str, Any]:
    """Compute and draw the map of the embedding and the neighbours of a few particles."""
    train, test = evaluation.train, evaluation.test
    found = embedding_map(evaluation)
    advance()
    neighbours = nearest_neighbours(evaluation)
    advance()
    draw_map(found["place"], rows=found["rows"], particles=test, path=out / "map.png")
    draw_neighbours(neighbours, test=test, train=train, path=out / "neighbours.png")
    return {
        "particles": len(found["rows"]),
        "neighbours": {name: value.tolist() for name, value in neighbours.items()},
    }


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
