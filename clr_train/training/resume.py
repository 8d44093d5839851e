"""The state of a run: what a checkpoint saves of it, and how the run continues from it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import torch
from torch import nn

from clr_train.config import SHAPE_OPTIONS, TrainConfig
from clr_train.learner import Learner
from clr_train.runtime.processes import World
from clr_train.stream.mixed import MixedStream
from clr_train.stream.stream import ParticleStream
from clr_train.training.checkpoint import CheckpointError, load_checkpoint
from clr_train.training.optimizer import learning_rate, make_optimizer
from clr_train.training.pretrained import config_of, load_weights
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.options import OptionError, flag
from pilarnet_convert.shards.reader import path_strings

__all__ = ["Progress", "TrainingRun", "start_run"]

#: Options of the sample that losses and baselines are of; those of others are not comparable.
_OF_VALIDATION: Final = ("val_split", "eval_particles")
#: Options that concern the machine of a process: only these may differ between processes.
_OF_A_PROCESS: Final = ("shards", "unlabelled", "out", "cache", "cache_size", "device", "workers")


@dataclass(kw_only=True)
class Progress:
    """How far a run has come."""

    step: int = 0  # steps done
    seconds: float = 0.0  # spent on them, without evaluations
    best_loss: float = float("inf")  # the lowest on the validation split
    #: Scores of the untrained encoder, by the columns of metrics.csv.
    baselines: dict[str, float] = field(default_factory=dict)
    #: Figures of the last step if its evaluation or its pictures are still to be done.
    unevaluated: dict[str, float] | None = None
    #: Steps at which the schedule of the learning rate begins and ends; None: with the run.
    schedule: tuple[int, int] | None = None


@dataclass(kw_only=True)
class TrainingRun:
    """The parts of a run; `stream` gives the part of each batch that is for this process."""

    config: TrainConfig
    stream: ParticleStream | MixedStream
    learner: Learner
    optimizer: torch.optim.Optimizer
    total_steps: int
    progress: Progress = field(default_factory=Progress)

    @cached_property
    def parameters(self) -> list[nn.Parameter]:
        """The parameters that are trained."""
        return list(self.learner.model.parameters())

    @property
    def num_epochs(self) -> int:
        """Epochs that are begun, the last perhaps not ended."""
        return -(-self.total_steps // self.stream.num_batches)

    @property
    def is_evaluated(self) -> bool:
        """Whether the step that was done last is one to evaluate."""
        step = self.progress.step
        return step == self.total_steps or step % self.config.eval_every == 0

    @property
    def is_pictured(self) -> bool:
        """Whether the step that was done last is one to draw pictures of."""
        step, every = self.progress.step, self.config.images_every
        return every is not None and (step == self.total_steps or step % every == 0)

    def capture(self) -> dict[str, Any]:
        """Collect the fields of a checkpoint, see `clr_train.training.checkpoint`."""
        progress = asdict(self.progress)
        step = progress.pop("step")
        epoch, batch = divmod(step, self.stream.num_batches)
        return {
            "model": self.learner.model.state_dict(),
            "encoder": self.learner.describe(),
            "optimizer": self.optimizer.state_dict(),
            "step": step,
            "stream": {"epoch": epoch, "batch": batch, **self._stream_sizes()},
            "random": {
                "cpu": torch.get_rng_state(),
                "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [],
            },
            "config": self.config.to_dict(),
            "progress": progress,
        }

    def restore(self, state: Mapping[str, Any], *, file: Path | None = None) -> None:
        """Set weights, optimizer, random states and progress to those of a checkpoint."""
        load_weights(self.learner, state, file=file)
        self.optimizer.load_state_dict(state["optimizer"])
        torch.set_rng_state(state["random"]["cpu"])
        if len(state["random"]["cuda"]) == torch.cuda.device_count():
            torch.cuda.set_rng_state_all(state["random"]["cuda"])
        self.progress = Progress(
            **{**state["progress"], "step": state["step"], "schedule": self._schedule(state)}
        )
        saved = config_of(state)
        if any(getattr(saved, name) != getattr(self.config, name) for name in _OF_VALIDATION):
            self.progress.best_loss, self.progress.baselines = math.inf, {}

    def next_rate(self) -> float:
        """Compute the learning rate of the next step."""
        return self._rate(self.progress.step, self.progress.schedule or (0, self.total_steps))

    def _rate(self, step: int, schedule: tuple[int, int]) -> float:
        """Compute the learning rate of a step, where a schedule begins and ends at these steps."""
        begin, end = schedule
        return learning_rate(
            step - begin,
            total_steps=end - begin,
            epoch_steps=self.stream.num_batches,
            config=self.config,
        )

    def schedule_change(self, state: Mapping[str, Any]) -> str | None:
        """Describe how the learning rate changes if a checkpoint's run had other total steps."""
        saved = config_of(state)
        before = _total_steps(saved, self.stream)
        if before == self.total_steps:
            return None
        step = state["step"]
        last = state["optimizer"]["param_groups"][0]["lr"]
        rate = self._rate(step, self._schedule(state))
        return (
            f"{self.total_steps} steps in place of {before}: the learning rate, {last:.3g} in step "
            f"{step}, is {rate:.3g} in the next (--schedule {self.config.schedule})"
        )

    def _schedule(self, state: Mapping[str, Any]) -> tuple[int, int]:
        """Return first and last step of the learning rate's schedule after a checkpoint."""
        before = _total_steps(config_of(state), self.stream)
        kept: tuple[int, int] = state["progress"].get("schedule") or (0, before)
        if before == self.total_steps or self.config.schedule == "constant":
            return kept
        return (state["step"] if self.config.schedule == "restart" else 0), self.total_steps

    def load_checkpoint(self, path: str | Path) -> dict[str, Any]:
        """Read a checkpoint of this run.

        Raises
        ------
        CheckpointError
            It cannot be read, is of another model, other options or other shards, or has more steps
            than the run is to have.
        """
        state = load_checkpoint(path)
        saved = config_of(state, file=path)
        for name in self.config.differences(saved):
            kind = "model" if name in ("model", *SHAPE_OPTIONS) else "run"
            raise CheckpointError(
                f"the checkpoint is of another {kind}",
                file=path,
                field=flag(name),
                expected=getattr(saved, name),
                found=getattr(self.config, name),
                advice="leave the option out, or train into another folder",
            )
        sizes = self._stream_sizes()
        saved_sizes = {name: state["stream"].get(name) for name in sizes}
        if saved_sizes != sizes:
            text = "{num_particles} particles in {num_batches} batches of the set {shards}"
            raise CheckpointError(
                "the checkpoint was trained on other shards",
                file=path,
                field="--shards",
                expected=text.format(**saved_sizes),
                found=text.format(**sizes),
                advice="name the shards of the run, or train into another folder",
            )
        if state["step"] > self.total_steps:
            raise CheckpointError(
                "the run has already done more steps",
                file=path,
                field="--max-steps" if self.config.max_steps == self.total_steps else "--epochs",
                expected=f"at least {state['step']} steps in all",
                found=self.total_steps,
                advice="give more, or train into another folder",
            )
        return state

    def check_processes(self, world: World) -> None:
        """Raise a PilarnetError if this process would not train as the first of `world` does.

        Such processes would train different weights, or wait for each other for hours.
        """
        options = self.config.to_dict()
        own = {name: options[name] for name in options if name not in _OF_A_PROCESS}
        own["shards"] = self.stream.identity
        for name, expected in world.share(own).items():
            if own[name] != expected:
                raise PilarnetError(
                    "the processes of the run differ",
                    field=flag(name),
                    expected=f"{expected}, as in the first process",
                    found=own[name],
                    advice="start all with the same options, and with the same shards",
                )

    def _stream_sizes(self) -> dict[str, int | str]:
        """Collect what differs between streams of other particles or batches."""
        stream = self.stream
        return {
            "num_batches": stream.num_batches,
            "num_particles": stream.num_particles,
            "shards": stream.identity,
        }


def _total_steps(config: TrainConfig, stream: ParticleStream | MixedStream) -> int:
    steps = config.epochs * stream.num_batches
    return steps if config.max_steps is None else min(steps, config.max_steps)


def _open_training_stream(config: TrainConfig, *, world: World) -> ParticleStream | MixedStream:
    options: dict[str, Any] = {
        "rank": world.rank,
        "world_size": world.size,
        "device": world.device,
    }
    if config.unlabelled is None:
        return ParticleStream(config, **options)
    if config.batch_size % (2 * world.size):
        raise OptionError(
            "a batch cannot be shared evenly",
            field="--batch-size",
            expected=f"a multiple of {2 * world.size}, twice the number of processes, as "
            "--unlabelled takes half of it",
            found=config.batch_size,
        )
    budget = None if config.voxel_budget is None else config.voxel_budget // 2
    if budget is not None and budget < config.min_voxels:
        raise OptionError(
            "unusable value",
            field="--voxel-budget",
            expected=f"at least {2 * config.min_voxels}, as --unlabelled takes half of it, and a "
            "half holds a particle of --min-voxels",
            found=config.voxel_budget,
        )
    half = config.for_stream(batch_size=config.batch_size // 2, voxel_budget=budget)
    # Filters by class and balance would use the labels.
    target = half.for_stream(shards=config.unlabelled, classes=(), balanced=False)
    return MixedStream(ParticleStream(half, **options), ParticleStream(target, **options))


def start_run(config: TrainConfig, *, world: World) -> TrainingRun:
    """Open the training split and make the model and its optimizer.

    A PilarnetError is raised if the shards cannot be read, no batch has two particles, or another
    process has other options or shards.
    """
    stream = _open_training_stream(config, world=world)
    if stream.batch_size < 2:
        raise PilarnetError(
            "too few particles to train on",
            file=", ".join(path_strings(config.shards)),
            field=config.split,
            expected="at least 2 in a batch, which are contrasted",
            found=stream.batch_size,
            advice="convert more events, or use fewer filters",
        )
    learner = Learner(config, device=world.device)
    run = TrainingRun(
        config=config,
        stream=stream,
        learner=learner,
        optimizer=make_optimizer(
            learner.model.parameters(),
            weight_decay=config.weight_decay,
            betas=(0.9, config.beta2),
        ),
        total_steps=_total_steps(config, stream),
    )
    run.check_processes(world)
    return run
