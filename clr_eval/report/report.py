"""The report as a whole: every part computed or found again, then judged, drawn and written."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any, Final

import numpy as np

from clr_eval.binned_metrics import QUANTITIES, profile
from clr_eval.config import EvalConfig
from clr_eval.embedding.split import Particles
from clr_eval.embedding_map import neighbours, project_map
from clr_eval.evaluation import Subject
from clr_eval.methods import METHODS
from clr_eval.metrics import score
from clr_eval.report.figures import (
    draw_confusion,
    draw_failures,
    draw_fractions,
    draw_robustness,
    main_methods,
)
from clr_eval.report.markdown import write_markdown
from clr_eval.report.particles import draw_map, draw_neighbours
from clr_eval.robustness import robustness
from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.pictures import require_matplotlib
from pilarnet_convert.species import CLASSES

__all__ = ["evaluate"]

FORMAT: Final = "pilarnet-clr-report"
VERSION: Final = 1
_PARTS: Final = "parts"
_RESAMPLING_SEED: Final = 0


def evaluate(config: EvalConfig, *, show_progress: bool = False) -> dict[str, Any]:
    """Find out what a pretrained encoder is worth, and write a report of it.

    Parameters
    ----------
    config : EvalConfig
        What to look at. What was computed before for the same checkpoint, shards and options is
        read from ``config.out`` and not computed again, so an interrupted report goes on.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.

    Returns
    -------
    dict
        What ``report.json`` holds; ``report.md`` and the pictures lie beside it.

    Raises
    ------
    PilarnetError
        A checkpoint or shards that cannot be read, a split without particles, a folder that holds
        something else, or a loss or feature that is not finite.
    """
    out = Path(config.out)
    require_matplotlib()
    _check_unused(out)
    with progress_bar(unit="part", description="evaluate", show=show_progress) as bar:

        def say(words: str) -> None:
            bar.set_postfix_str(words, refresh=False)
            bar.update(0)

        subject = Subject(config, folder=out / _PARTS, say=say)
        methods = [name for name, method in METHODS.items() if method.part in config.parts]
        runs = [(name, f, s) for name in methods for f in config.fractions
                for s in subject.seeds(name, f)]  # fmt: skip
        tried = tuple(main_methods(methods)) if "robustness" in config.parts else ()
        tries = sum(len(subject.seeds(name, config.largest_fraction)) for name in tried)
        bar.total = len(runs) + tries + 2 * ("map" in config.parts)
        bar.refresh()

        report = _describe(subject)
        for name, fraction, seed in runs:
            subject.probabilities(name, fraction=fraction, seed=seed)
            bar.update()
        say("scores")
        report["results"] = [
            _judge(subject, name, fraction) for name in methods for fraction in config.fractions
        ]
        if tried:
            report["robustness"] = robustness(subject, methods=tried, advance=bar.update)
        if "by-energy" in config.parts:
            report["failures"] = _failures(subject, main_methods(methods))
        if "map" in config.parts:
            place = project_map(subject)
            bar.update()
            company = neighbours(subject)
            bar.update()
            report["map"] = {
                "particles": len(place["rows"]),
                "neighbours": {name: value.tolist() for name, value in company.items()},
            }
            draw_map(place["place"], rows=place["rows"], of=subject.test, path=out / "map.png")
            draw_neighbours(
                company, test=subject.test, train=subject.train, path=out / "neighbours.png"
            )
        _draw(report, config, out)
    _write(out / "report.md", write_markdown(report))
    _write(out / "report.json", json.dumps(report, indent=1) + "\n")
    return report


def _check_unused(out: Path) -> None:
    """Make sure that a report may be written to a folder: it holds an earlier one or nothing."""
    if out.exists():
        known = out.is_dir() and ((out / "report.json").exists() or (out / _PARTS).is_dir())
        if not known and (not out.is_dir() or any(out.iterdir())):
            raise PilarnetError(
                "the output folder is in use",
                file=out,
                field="--out",
                expected="a new folder, an empty one, or an earlier report",
                advice="choose another --out",
            )


def _describe(subject: Subject) -> dict[str, Any]:
    """Say what is judged, and on what."""
    config, encoder = subject.config, subject.learner.model.encoder
    options = dataclasses.asdict(config)
    del options["checkpoint"], options["shards"], options["out"]
    return {
        "format": FORMAT,
        "version": VERSION,
        "checkpoint": {
            "path": config.checkpoint,
            "sha256": subject.identity["checkpoint"],
            "step": subject.step,
            "model": subject.learner.config.model,
            "parameters": sum(p.numel() for p in encoder.parameters()),
            "features": encoder.out_features,
        },
        "shards": {
            "path": config.shards,
            "sha256_of_attributes": subject.identity["shards"],
            "train": {"counts": _counts(subject.train)},
            "test": {"counts": _counts(subject.test)},
        },
        "options": options,
        "classes": [species.name for species in CLASSES],
        "methods": {name: method.title for name, method in METHODS.items()},
    }


def _counts(particles: Particles) -> dict[str, int]:
    counts = np.bincount(particles.label, minlength=len(CLASSES))
    return {species.name: int(counts[species.label]) for species in CLASSES}


def _judge(subject: Subject, method: str, fraction: float) -> dict[str, Any]:
    seeds = subject.seeds(method, fraction)
    probabilities = np.stack(
        [subject.probabilities(method, fraction=fraction, seed=seed) for seed in seeds]
    )
    return {
        "method": method,
        "fraction": fraction,
        "num_labelled": len(subject.labelled(fraction, seeds[0])),
        "seeds": list(seeds),
        **score(
            subject.test.label,
            probabilities,
            resamples=subject.config.resamples,
            seed=_RESAMPLING_SEED,
        ),
    }


def _failures(subject: Subject, methods: list[str]) -> dict[str, Any]:
    fraction = subject.config.largest_fraction
    found: dict[str, Any] = {quantity: {} for quantity in QUANTITIES}
    for method in methods:
        answers = np.stack(
            [
                subject.probabilities(method, fraction=fraction, seed=seed).argmax(axis=1)
                for seed in subject.seeds(method, fraction)
            ]
        )
        for quantity in QUANTITIES:
            found[quantity][method] = profile(
                subject.test.columns[quantity],
                truth=subject.test.label,
                answers=answers,
                resamples=subject.config.resamples,
                seed=_RESAMPLING_SEED,
            )
    return found


def _draw(report: dict[str, Any], config: EvalConfig, out: Path) -> None:
    if report["results"]:
        draw_fractions(report["results"], path=out / "label_fractions.png")
        draw_confusion(
            report["results"], fraction=config.largest_fraction, path=out / "confusion.png"
        )
    if "robustness" in report:
        draw_robustness(report["robustness"], path=out / "robustness.png")
    if "failures" in report:
        draw_failures(report["failures"], path=out / "failures.png")


def _write(path: Path, text: str) -> None:
    """Write a file so that it is there whole or as it was."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)
