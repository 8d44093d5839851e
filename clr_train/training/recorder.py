"""What becomes of each step: metrics, evaluations, checkpoints, and the bar that the user sees."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch

from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.probe.probes import Scores
from clr_train.stream.stream import ParticleStream, open_stream
from clr_train.training.checkpoint import CheckpointFolder
from clr_train.training.resume import Progress, capture, load_for_resume
from clr_train.training.run_folder import RunFolder
from clr_train.training.validation import Validator, final_probe, format_probe
from pilarnet_convert.console import progress_bar

__all__ = ["Recorder"]


class Recorder:
    """Keeps the folder of the run, on the first process.

    Parameters
    ----------
    config : TrainConfig
    learner : Learner
    optimizer : torch.optim.Optimizer
    stream : ParticleStream
        Of the training split.
    total_steps : int
    resume, overwrite, show_progress, say
        As for `clr_train.train.pretrain`.

    Raises
    ------
    PilarnetError
        The output folder is in use, or a split is missing or empty.
    """

    def __init__(
        self,
        *,
        config: TrainConfig,
        learner: Learner,
        optimizer: torch.optim.Optimizer,
        stream: ParticleStream,
        total_steps: int,
        resume: bool,
        overwrite: bool,
        show_progress: bool,
        say: Callable[[str], object],
    ) -> None:
        self.config, self.say, self.total_steps = config, say, total_steps
        self.learner, self.optimizer, self.stream = learner, optimizer, stream
        self.progress = Progress()
        # Everything that can be wrong is found out before the folder is touched.
        self._validator = Validator(
            config=config,
            train=open_stream(config, split=config.split),
            val=open_stream(config, split=config.val_split),
        )
        self._test = open_stream(config, split=config.test_split) if config.final_probe else None
        self._stack = ExitStack()
        self._folder = self._stack.enter_context(
            RunFolder(config.out, resume=resume, overwrite=overwrite)
        )
        self._checkpoints = CheckpointFolder(
            self._folder.checkpoints, keep_last=self.config.keep_last
        )
        self._bar = self._stack.enter_context(
            progress_bar(total=total_steps, unit="step", description="train", show=show_progress)
        )

    def __enter__(self) -> Recorder:
        return self

    def __exit__(self, *error: Any) -> None:
        self._stack.__exit__(*error)

    @property
    def last_checkpoint(self) -> Path | None:
        """The latest checkpoint, None before the first."""
        return self._checkpoints.latest()

    def load(self) -> dict[str, Any] | None:
        """Read the latest checkpoint and make sure that this run continues it.

        Raises
        ------
        CheckpointError
            As `clr_train.training.resume.load_for_resume`.
        """
        latest = self.last_checkpoint
        if latest is None:
            return None
        self.say(f"continuing from {latest}")
        return load_for_resume(latest, config=self.config, stream=self.stream)

    def begin(self, progress: Progress) -> None:
        """Open the logs at the step that the run begins with; judge an untrained encoder once."""
        self.progress = progress
        self._folder.begin(self.config, step=progress.step)
        self._bar.initial = self._bar.n = progress.step
        for line in self.stream.summary.lines():
            self.say(line)
        if progress.step == 0:
            row = self._validator.measure(self.learner)
            progress.baselines = self._validator.baselines(row, learner=self.learner)
            self._folder.log({"step": 0, "epoch": 0, **row, **progress.baselines})
            self.say(_sentence(0, row, progress.baselines))

    def record(self, figures: dict[str, float], *, stopping: bool) -> None:
        """Log a step that is done; evaluate and save where that is due.

        Parameters
        ----------
        figures : dict
            Columns of metrics.csv but ``step``.
        stopping : bool
            The run is about to end before its last step: save, and do not evaluate.
        """
        step = self.progress.step
        row = {"step": step, **figures}
        last = step == self.total_steps
        improved = False
        if (last or step % self.config.eval_every == 0) and not stopping:
            measured = self._validator.measure(self.learner)
            row |= measured | self.progress.baselines
            improved = measured["val_loss"] < self.progress.best_loss
            self.progress.best_loss = min(self.progress.best_loss, measured["val_loss"])
            self.say(_sentence(step, row, self.progress.baselines))
        self._folder.log(row)
        if improved or last or stopping or step % self.config.checkpoint_every == 0:
            self.save(best=improved)
        self._bar.set_postfix_str(
            f"loss {figures['loss']:.3f}, {figures['particles_per_second']:.0f} particles/s",
            refresh=False,
        )
        self._bar.update()

    def save(self, *, best: bool) -> Path:
        """Write a checkpoint of the run as it is."""
        # What the checkpoint counts as done must be in the metrics, whatever happens next.
        self._folder.sync()
        state = capture(
            self.progress,
            learner=self.learner,
            optimizer=self.optimizer,
            stream=self.stream,
            config=self.config,
        )
        return self._checkpoints.save(state, best=best)

    def note_nonfinite(self, particles: list[int]) -> Path:
        """Write down the particles of a batch whose loss or gradient is not finite."""
        return self._folder.write_json(
            "nonfinite.json",
            {"step": self.progress.step + 1, "split": self.config.split, "particles": particles},
        )

    def finish(self) -> dict[str, Scores]:
        """Probe the trained encoder on the test split, print the table and keep it."""
        if self._test is None:
            return {}
        scores = final_probe(
            self.learner,
            untrained=Learner(self.config, device=self.learner.device),
            train=self._validator.train,
            test=self._test,
        )
        self._folder.write_json(
            "probe.json", {name: dataclasses.asdict(score) for name, score in scores.items()}
        )
        fitted, judged = self._validator.train.num_particles, self._test.num_particles
        self.say(
            f"probes of the {self.config.test_split} split, {judged:,} particles, fitted on "
            f"{fitted:,} of the {self.config.split} split:"
        )
        self.say(format_probe(scores))
        return scores


def _sentence(step: int, row: Mapping[str, float], baselines: Mapping[str, float]) -> str:
    """Say what an evaluation found in a line."""

    def share(name: str) -> str:
        return f"{100 * {**row, **baselines}[f'val_{name}_balanced_accuracy']:.1f} %"

    return (
        f"step {step}: validation loss {row['val_loss']:.3f}, alignment "
        f"{row['val_alignment']:.3f}, uniformity {row['val_uniformity']:.3f}; balanced accuracy: "
        f"linear {share('linear')} (untrained {share('untrained_linear')}), "
        f"kNN {share('knn')} (untrained {share('untrained_knn')}), majority {share('majority')}"
    )
