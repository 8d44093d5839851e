"""Evaluation of a run: on the validation split during training, on the test split at the end."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.network.encoder import evaluating
from clr_train.probe.features import Features, collect
from clr_train.probe.geometry import alignment, uniformity
from clr_train.probe.handcrafted import handcrafted_features
from clr_train.probe.probes import Scores, linear_probe, majority, nearest_neighbours
from clr_train.stream.reader import EmptySplitError
from clr_train.stream.sampling import fill_batches
from clr_train.stream.stream import ParticleStream, open_stream
from clr_train.training.images import draw_images
from pilarnet_convert.console.progress import ProgressBar

__all__ = [
    "Validator",
    "describe_missing",
    "final_probe",
    "format_probe",
    "open_evaluated",
    "untrained_columns",
]

#: Particles embedded at once; it sets memory and does not change the result.
_BATCH = 256
#: Particles contrasted with each other for the loss of the validation split.
_CONTRASTED = 256
#: Most particles whose distances from each other are computed, for all pairs.
_UNIFORMITY_PARTICLES = 4096
#: Epoch of the views that are validated on, the same at every evaluation.
_VIEWS_OF_EPOCH = 0


def open_evaluated(config: TrainConfig) -> tuple[ParticleStream | None, ParticleStream | None]:
    """Open the splits of the validation and of the final probe.

    A split without particles is None, and so is the second if the run makes no final probe.
    """

    def opened(split: str) -> ParticleStream | None:
        try:
            return open_stream(config, split=split)
        except EmptySplitError:
            return None

    return opened(config.val_split), opened(config.test_split) if config.final_probe else None


def describe_missing(
    config: TrainConfig, *, val: ParticleStream | None, test: ParticleStream | None
) -> list[str]:
    """Return which evaluations are left out because a split has no particles, a line for each.

    `val` and `test` are what `open_evaluated` returns.
    """
    lines = []
    if val is None:
        lines.append(
            f"{config.val_split}: no particles, so there is no validation: no loss, no probes "
            "or pictures during training, and no best checkpoint, only the last ones"
        )
    if test is None and config.final_probe:
        lines.append(f"{config.test_split}: no particles, so there is no final probe")
    return lines


class Validator:
    """Measures an encoder on the validation split.

    The probes are fitted to a sample of ``eval_particles`` of ``split``, and scored on one of
    ``val_split``. The samples are drawn from the whole splits, and are the same at every step.
    """

    def __init__(self, config: TrainConfig, *, train: ParticleStream, val: ParticleStream) -> None:
        self.config, self.train, self.val = config, train, val

    @cached_property
    def _samples(self) -> tuple[ParticleBatch, ParticleBatch]:
        """The samples of the two splits, kept in memory: they are spread over all shards."""
        most = self.config.eval_particles
        return self.train.sample(most), self.val.sample(most)

    def _batches(self, sample: ParticleBatch, size: int) -> Iterator[ParticleBatch]:
        """Cut a sample into batches of `size` particles, or fewer under the voxel budget."""
        num_voxels = sample.offset.diff().numpy()
        return sample.split(fill_batches(num_voxels, size, budget=self.config.voxel_budget))

    def measure(self, learner: Learner) -> dict[str, float]:
        """Measure loss, alignment, uniformity and probes, as columns of metrics.csv."""
        train, val = self._features(learner)
        return {
            **self._contrast(learner),
            **_columns("knn", nearest_neighbours(train, test=val)),
            **_columns("linear", linear_probe(train, test=val)),
            **_columns("majority", majority(train, test=val)),
        }

    def draw(self, learner: Learner) -> dict[str, NDArray[np.uint8]]:
        """Draw what the features of the samples show, see `draw_images`."""
        train, val = self._features(learner)
        return draw_images(train, val, particles=self._samples, seed=self.config.seed)

    def _features(self, learner: Learner) -> tuple[Features, Features]:
        train, val = (
            collect(self._batches(sample, _BATCH), features=learner.represent)
            for sample in self._samples
        )
        return train, val

    def _contrast(self, learner: Learner) -> dict[str, float]:
        """Contrast views of the validation split as in training, always `size` particles at once.

        The loss grows with the number of negatives, so only sets of one size are comparable.
        """
        _, sample = self._samples
        size = min(_CONTRASTED, sample.num_particles)
        count = min(sample.num_particles, _UNIFORMITY_PARTICLES) // size * size
        sample = sample.slice(0, count)
        label = sample.label.to(learner.device)
        with evaluating(learner.model):
            projected = [
                learner.project(batch, epoch=_VIEWS_OF_EPOCH)
                for batch in self._batches(sample, size)
            ]
        views = torch.cat(projected, dim=1)
        losses, alignments = [], []
        sets = zip(torch.split(views, size, dim=1), torch.split(label, size), strict=True)
        for (first, second), part in sets:
            losses.append(float(learner.loss(first, second, part, gather=False)))
            alignments.append(alignment(first, second=second))
        return {
            "val_loss": sum(losses) / len(losses),
            "val_alignment": sum(alignments) / len(alignments),
            "val_uniformity": uniformity(views[0].float()),
        }


def untrained_columns(row: Mapping[str, float]) -> dict[str, float]:
    """Return the scores of the encoder that `row` has before the first step, as baselines."""
    return {
        name.replace("val_", "val_untrained_"): row[name]
        for name in row
        if name.startswith(("val_knn", "val_linear"))
    }


def _columns(probe: str, scores: Scores) -> dict[str, float]:
    return {
        f"val_{probe}_accuracy": scores.accuracy,
        f"val_{probe}_balanced_accuracy": scores.balanced_accuracy,
    }


def final_probe(
    learner: Learner,
    *,
    untrained: Learner,
    train: ParticleStream,
    test: ParticleStream,
    bar: ProgressBar,
) -> dict[str, Scores]:
    """Fit probes to all particles of one split and score them on all of another; scores by name.

    The probes are of the trained and the untrained encoder, each with a linear probe and with
    nearest neighbours; of handcrafted features with a linear probe; and the majority class. `bar`
    counts the particles of both splits, three times.
    """
    scores: dict[str, Scores] = {}
    for name, features in (
        ("trained encoder", learner.represent),
        ("untrained encoder", untrained.represent),
        ("handcrafted features", handcrafted_features),
    ):
        bar.set_postfix_str(name)
        fitted, scored = (collect(_counted(s, bar), features=features) for s in (train, test))
        bar.set_postfix_str(f"{name}: fitting")
        scores[f"{name}, linear"] = linear_probe(fitted, test=scored)
        if name != "handcrafted features":  # their units have no common scale for a distance
            scores[f"{name}, kNN"] = nearest_neighbours(fitted, test=scored)
    scores["majority class"] = majority(fitted, test=scored)
    return scores


def _counted(stream: ParticleStream, bar: ProgressBar) -> Iterator[ParticleBatch]:
    for batch in stream.sequential(_BATCH):
        yield batch
        bar.update(batch.num_particles)


def format_probe(scores: Mapping[str, Scores]) -> str:
    """Format the scores as a table."""
    width = max(map(len, scores))
    lines = [f"{'':{width}}  accuracy  balanced"]
    for name, score in scores.items():
        lines.append(
            f"{name:{width}}  {100 * score.accuracy:6.1f} %  {100 * score.balanced_accuracy:6.1f} %"
        )
    return "\n".join(lines)
