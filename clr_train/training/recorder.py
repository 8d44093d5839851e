"""What a run writes: metrics, evaluations, checkpoints, and messages for the user."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

from clr_train.learner import Learner
from clr_train.probe.probes import Scores
from clr_train.runtime.signals import Interrupted, StopRequest
from clr_train.stream.stream import ParticleStream, open_stream
from clr_train.training.checkpoint import CheckpointFolder
from clr_train.training.resume import TrainingRun
from clr_train.training.run_folder import RunFolder
from clr_train.training.step_bar import StepBar
from clr_train.training.trackers import import_wandb
from clr_train.training.validation import (
    Validator,
    describe_missing,
    final_probe,
    format_probe,
    open_evaluated,
    untrained_columns,
)
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import counted
from pilarnet_convert.pictures import require_matplotlib

__all__ = ["NullRecorder", "Recorder"]


class NullRecorder:
    """Writes nothing: the recorder of every process but the first."""

    def __enter__(self) -> NullRecorder:
        return self

    def __exit__(self, *_error: object) -> None:
        pass

    @property
    def last_checkpoint(self) -> Path | None:
        """None: there is no checkpoint."""
        return None

    def load(self) -> dict[str, Any] | None:
        """Return None: there is no checkpoint."""
        return None

    def begin(self) -> None:
        """Do nothing."""

    def record(self, figures: Mapping[str, float], *, stopping: bool) -> None:
        """Do nothing."""

    def write_nonfinite(self, particles: list[int]) -> Path | None:  # noqa: ARG002
        """Return None: there is no file."""
        return None

    def finish(self) -> dict[str, Scores]:
        """Return no scores."""
        return {}


class Recorder(NullRecorder):
    """Writes the folder of a run, on the first of its processes.

    A PilarnetError is raised if the folder is in use, or the training split is empty. A signal
    that `stop` receives ends an evaluation at once. `resume`, `overwrite`, `show_progress` and
    `say` are those of `clr_train.train.pretrain`.
    """

    def __init__(
        self,
        run: TrainingRun,
        *,
        stop: StopRequest,
        resume: bool,
        overwrite: bool,
        show_progress: bool,
        say: Callable[[str], object],
    ) -> None:
        self._run, self._config, self._print = run, run.config, say
        self._stop = stop
        # All splits are opened before the folder is touched.
        self._train = open_stream(run.config, split=run.config.split)
        if run.config.images_every is not None:
            require_matplotlib()
        if run.config.wandb is not None:
            import_wandb()
        val, self._test = open_evaluated(run.config)
        self._missing = describe_missing(run.config, val=val, test=self._test)
        self._validator = None if val is None else Validator(run.config, train=self._train, val=val)
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(
            RunFolder(
                run.config.out,
                resume=resume,
                overwrite=overwrite,
                facts={"device": run.learner.device_facts},
            )
        )
        self._checkpoints = CheckpointFolder(
            self._folder.checkpoints, keep_last=run.config.keep_last
        )
        self._new_bar = partial(progress_bar, show=show_progress, log=self._folder.log_file.write)
        self._bar = self._stack.enter_context(
            self._new_bar(
                total=run.total_steps,
                unit="step",
                description="train",
                advice="fewer --epochs, --max-steps, a smaller --model or a GPU shorten it",
            )
        )

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    def _say(self, text: str) -> None:
        """Print a line for the user, and keep it in the log."""
        self._print(text)
        self._folder.log_file.write(text)

    @property
    def last_checkpoint(self) -> Path | None:
        """The latest checkpoint, None before the first."""
        return self._checkpoints.latest()

    def load(self) -> dict[str, Any] | None:
        """Read the latest checkpoint, if there is one; see `TrainingRun.load_checkpoint`."""
        latest = self.last_checkpoint
        if latest is None:
            return None
        self._say(f"continuing from {latest}")
        state = self._run.load_checkpoint(latest)
        if change := self._run.schedule_change(state):
            self._say(change)
        return state

    def begin(self) -> None:
        """Open the logs at the first step to do; evaluate the untrained encoder before step 1."""
        progress = self._run.progress
        unlogged = progress.step == 0 or progress.unevaluated is not None
        self._folder.begin(self._config, next_step=progress.step + (not unlogged))
        self._steps = StepBar(self._bar, first_step=progress.step, num_epochs=self._run.num_epochs)
        for line in [*self._run.stream.lines(), *self._missing]:
            self._say(line)
        if unlogged:
            figures = progress.unevaluated or {"epoch": 0}
            self._evaluate(figures)
            self._draw(figures)
        if progress.step == self._run.total_steps:
            self._steps.close()

    def record(self, figures: Mapping[str, float], *, stopping: bool) -> None:
        """Log a step that is done; evaluate and save where that is due.

        `figures` are the columns of metrics.csv except ``step``. If the run is about to end,
        `stopping`, it is saved, but neither evaluated nor drawn until it is resumed.
        """
        progress, config = self._run.progress, self._config
        self._steps.count(progress.step, figures)
        if self._run.is_evaluated:
            progress.unevaluated = dict(figures)
            self._save()
            if not stopping:
                self._evaluate(figures)
        else:
            progress.unevaluated = dict(figures) if stopping and self._run.is_pictured else None
            if progress.unevaluated is None:
                self._log({"step": progress.step, **figures})
            if stopping or progress.step % config.checkpoint_every == 0:
                self._save()
        if not stopping:
            self._draw(figures)
        if progress.step == self._run.total_steps or stopping:
            self._steps.close()

    def _evaluate(self, figures: Mapping[str, float]) -> None:
        """Evaluate the encoder where due, log the results with `figures`, and save.

        A signal ends it; it is then done when the run is resumed.
        """
        progress = self._run.progress
        if self._validator is None or not self._run.is_evaluated:
            if progress.step:
                self._log({"step": progress.step, **figures})
                progress.unevaluated = None
                self._save()
            return
        untrained = " the untrained encoder" if progress.step == 0 else ""
        try:
            with self._steps.doing(f"validating{untrained}"), self._stop.interrupting():
                row = self._validator.measure(self._run.learner)
        except Interrupted:
            return
        if progress.step == 0:
            progress.baselines = untrained_columns(row)
        self._log({"step": progress.step, **figures, **row, **progress.baselines})
        if progress.step:
            improved = row["val_loss"] < progress.best_loss
            progress.best_loss = min(progress.best_loss, row["val_loss"])
            progress.unevaluated = None
            self._save(best=improved)

    def _draw(self, figures: Mapping[str, float]) -> None:
        """Draw what was learned so far, where that is due.

        A signal ends it; the step is then logged and drawn again when the run is resumed.
        """
        progress = self._run.progress
        if not self._run.is_pictured or self._validator is None:
            return
        try:
            with self._steps.doing("drawing"), self._stop.interrupting():
                self._folder.show(self._validator.draw(self._run.learner), step=progress.step)
        except Interrupted:
            if progress.step:
                progress.unevaluated = dict(figures)
                self._save()

    def _save(self, *, best: bool = False) -> None:
        # The metrics of every step that a checkpoint counts as logged must be on the disk.
        self._folder.sync()
        self._checkpoints.save(self._run.capture(), best=best)

    def _log(self, row: Mapping[str, float]) -> None:
        """Log a row; describe it to the user if it is an evaluation."""
        if "val_loss" in row:
            self._say(_describe(row))
        self._folder.log(row)

    def write_nonfinite(self, particles: list[int]) -> Path:
        """Write the particles of a batch whose loss or gradient is not finite into a file."""
        step = self._run.progress.step + 1
        content = {"step": step, "split": self._config.split, "particles": particles}
        return self._folder.write_json("nonfinite.json", content)

    def finish(self) -> dict[str, Scores]:
        """Probe the trained encoder on the test split, and print a summary.

        The scores are saved too. There are none if a signal comes first.
        """
        scores = {} if self._test is None else self._probe(self._test)
        if not self._stop.signal:
            self._say(self._summary(scores))
        return scores

    def _probe(self, test: ParticleStream) -> dict[str, Scores]:
        learner, train = self._run.learner, self._train
        untrained = Learner(self._config, device=learner.device)
        total = 3 * (train.num_particles + test.num_particles)
        try:
            with (
                self._stop.interrupting(),
                self._new_bar(total=total, unit="particle", description="final probe") as bar,
            ):
                scores = final_probe(learner, untrained=untrained, train=train, test=test, bar=bar)
        except Interrupted:
            return {}
        self._folder.write_json(
            "probe.json", {name: dataclasses.asdict(score) for name, score in scores.items()}
        )
        self._say(
            f"probes of the {self._config.test_split} split, {test.num_particles:,} "
            f"particles, fitted on {train.num_particles:,} of the {self._config.split} split:"
        )
        self._say(format_probe(scores))
        return scores

    def _summary(self, scores: Mapping[str, Scores]) -> str:
        """Describe in a line what the run has made, with its headline numbers."""
        progress, out = self._run.progress, self._folder.path
        facts = [counted(progress.step, "step"), f"the encoder is in {self.last_checkpoint}"]
        if scores:
            trained, untrained = (
                f"{scores[f'{name} encoder, linear'].balanced_accuracy:.1%}".replace("%", " %")
                for name in ("trained", "untrained")
            )
            facts.append(f"balanced accuracy of its linear probe {trained} (untrained {untrained})")
        if self._checkpoints.best.exists() and math.isfinite(progress.best_loss):
            facts.append(f"best.pt has the lowest validation loss, {progress.best_loss:.3f}")
        return f"wrote {out}: " + "; ".join(facts)


def _describe(row: Mapping[str, float]) -> str:
    """Describe an evaluation in a line."""
    linear, nearest = (
        f"{100 * row[f'val_{probe}_balanced_accuracy']:.1f} %" for probe in ("linear", "knn")
    )
    when = f"step {row['step']:,}" if row["step"] else "untrained"
    return (
        f"{when}: validation loss {row['val_loss']:.3f}, "
        f"balanced accuracy {linear} linear, {nearest} kNN"
    )
