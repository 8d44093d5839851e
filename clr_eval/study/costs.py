"""How long a study will take: its steps, and an estimate of the time.

A cost of 1 is that of one particle, as two views, in a step of pretraining. Costs are rough: they
need only tell minutes from hours.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from clr_eval.embedding.split import read_split
from clr_eval.finetune import num_steps
from clr_eval.study.config import StudyConfig
from clr_eval.study.groups import SeedGroup
from clr_eval.study.methods import PRETRAININGS, STUDY_METHODS
from clr_eval.timing import seconds_per_particle
from clr_train.batch import ParticleBatch
from clr_train.learner import Learner
from clr_train.runtime.processes import pick_device
from pilarnet_convert.errors import counted
from pilarnet_convert.shards.reader import open_shards

__all__ = [
    "describe_study",
    "method_cost",
    "pretraining_cost",
    "seconds_per_cost",
    "step_cost",
]

#: Costs of a particle: in a step of one view, encoded, and in the fit of a probe or of trees.
_ONE_VIEW: Final = 1 / 2
_ENCODED: Final = 1 / 6
_FITTED: Final = 0.4
#: Particles to measure on.
_SAMPLE: Final = 64


def describe_study(config: StudyConfig, *, groups: Sequence[SeedGroup]) -> list[str]:
    """Describe what a study computes, in lines: all its groups, then those of each name."""
    seeds = ", ".join(map(str, sorted({group.seed for group in groups})))
    lines = [f"{counted(len(groups), 'run')}, seeds {seeds or 'none'}"]
    for group in {group.name: group for group in groups}.values():
        times = sum(other.name == group.name for other in groups)
        steps = _pretraining_steps(config, group.name)
        work = [f"pretraining, {steps:,} steps of two views"] if steps else []
        for name in group.methods:
            steps = sum(_fitting_steps(config, name, count) for count in config.label_counts)
            title = STUDY_METHODS[name].title
            work.append(f"{title}, {steps:,} steps of one view" if steps else title)
        lines.append(f"  {times} x {group.name}: {'; '.join(work)}")
    labels = ", ".join("all" if c is None else f"{c:,}" for c in config.label_counts)
    lines.append(f"  labels: {labels}; domains: {', '.join(config.domains)}")
    return lines


def pretraining_cost(config: StudyConfig, *, name: str) -> float:
    """Estimate the cost of a pretraining of `clr_eval.study.methods.PRETRAININGS`."""
    return _pretraining_steps(config, name) * config.train.batch_size


def method_cost(config: StudyConfig, *, name: str) -> float:
    """Estimate the cost of one seed of a method, without its pretraining."""
    method, every = STUDY_METHODS[name], _num_labelled(config, None)
    tested = sum(
        open_shards(domain.shards).num_particles(domain.split) for domain in config.domains.values()
    )
    if method.fit in ("linear", "trees"):
        encoded = 0.0 if method.fit == "trees" else _ENCODED * (every + tested)
        labelled = sum(_num_labelled(config, count) for count in config.label_counts)
        return encoded + _FITTED * labelled
    cost = len(config.label_counts) * _ENCODED * tested
    for count in config.label_counts:
        cost += _fitting_steps(config, name, count) * step_cost(config, name=name, count=count)
    return cost


def step_cost(config: StudyConfig, *, name: str, count: int | None) -> float:
    """Estimate the cost of a step in which a network learns from `count` labels."""
    views = 2 if STUDY_METHODS[name].fit == "dann" else 1  # as many particles of the target
    return _ONE_VIEW * views * min(config.fit.batch_size, _num_labelled(config, count))


def seconds_per_cost(config: StudyConfig) -> float:
    """Measure how long a step of pretraining takes for each particle, seconds."""
    learner = Learner(config.train, device=pick_device(config.train.device))

    def pass_through(batch: ParticleBatch) -> None:
        learner.project(batch, epoch=0).sum().backward()  # type: ignore[no-untyped-call]

    sample = read_split(config.nominal, split="train", max_particles=_SAMPLE).batch
    return seconds_per_particle(pass_through, sample, most=config.train.batch_size)


def _pretraining_steps(config: StudyConfig, name: str) -> int:
    if name not in PRETRAININGS:
        return 0
    pretraining, train = PRETRAININGS[name], config.train
    shards = config.target if pretraining.shards == "target" else config.nominal
    assert shards is not None
    size = train.batch_size // 2 if pretraining.with_target else train.batch_size
    # A batch that is larger than the split becomes as large as the split.
    steps = train.epochs * max(1, open_shards(shards).num_particles("train") // size)
    return steps if train.max_steps is None else min(steps, train.max_steps)


def _fitting_steps(config: StudyConfig, name: str, count: int | None) -> int:
    """Count the steps of training a network as a classifier, 0 for a probe."""
    if STUDY_METHODS[name].fit in ("linear", "trees"):
        return 0
    return num_steps(_num_labelled(config, count), config=config.fit)


def _num_labelled(config: StudyConfig, count: int | None) -> int:
    every = open_shards(config.nominal).num_particles("train")
    return every if count is None else min(count, every)
