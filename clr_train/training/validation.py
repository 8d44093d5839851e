"""Judging a run: the validation split on the way, a probe of the test split at the end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch

from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.probe.features import Features, collect
from clr_train.probe.geometry import alignment, uniformity
from clr_train.probe.handcrafted import handcrafted_features
from clr_train.probe.probes import Scores, linear_probe, majority, nearest_neighbours
from clr_train.stream.stream import ParticleStream

__all__ = ["Validator", "final_probe", "format_probe"]

#: Particles embedded at once; sets memory and not the result.
_BATCH = 256
#: Particles contrasted with each other for the loss of the validation split.
_CONTRASTED = 256
#: Particles at most whose distances from each other are taken: all pairs of them.
_UNIFORM = 4096
#: Epoch of the views that are validated on: the same at every evaluation.
_VIEWS_OF_EPOCH = 0


@dataclass(frozen=True, kw_only=True)
class Validator:
    """What is measured on the validation split every so often.

    Parameters
    ----------
    config : TrainConfig
    train, val : ParticleStream
        The probes are fitted on the first ``eval_particles`` of `train`, scored on those of `val`.
    """

    config: TrainConfig
    train: ParticleStream
    val: ParticleStream

    def measure(self, learner: Learner) -> dict[str, float]:
        """Measure the encoder as it is: loss, alignment, uniformity and probes.

        Returns
        -------
        dict of str to float
            Columns of metrics.csv.
        """
        train, val = self._features(learner)
        return {
            **self._contrast(learner),
            **_columns("knn", nearest_neighbours(train, test=val)),
            **_columns("linear", linear_probe(train, test=val)),
        }

    def baselines(self, untrained: Mapping[str, float], *, learner: Learner) -> dict[str, float]:
        """Give what the probes are compared with, as columns of metrics.csv.

        Parameters
        ----------
        untrained : mapping
            What `measure` read before the first step.
        learner : Learner
        """
        train, val = self._features(learner)
        return {
            **{
                f"val_untrained_{name.removeprefix('val_')}": value
                for name, value in untrained.items()
                if name.endswith("accuracy")
            },
            **_columns("majority", majority(train, test=val)),
        }

    def _features(self, learner: Learner) -> tuple[Features, Features]:
        train, val = (
            collect(
                stream.sequential(_BATCH),
                features=learner.represent,
                max_particles=self.config.eval_particles,
            )
            for stream in (self.train, self.val)
        )
        return train, val

    def _contrast(self, learner: Learner) -> dict[str, float]:
        """Contrast views of the validation split as the training does."""
        size = min(_CONTRASTED, self.val.num_particles)
        losses, aligned, rows, seen = [], [], [], 0
        for batch in self.val.sequential(size):
            # The loss grows with the number of negatives: only whole batches compare.
            if batch.num_particles < size or seen >= min(self.config.eval_particles, _UNIFORM):
                break
            with torch.no_grad(), learner.evaluating():
                first, second = learner.project(batch, epoch=_VIEWS_OF_EPOCH).unbind()
                losses.append(float(learner.loss(first, second, batch.label, gather=False)))
            aligned.append(alignment(first, second=second))
            rows.append(first.float())
            seen += size
        return {
            "val_loss": sum(losses) / len(losses),
            "val_alignment": sum(aligned) / len(aligned),
            "val_uniformity": uniformity(torch.cat(rows)),
        }


def _columns(probe: str, scores: Scores) -> dict[str, float]:
    return {
        f"val_{probe}_accuracy": scores.accuracy,
        f"val_{probe}_balanced_accuracy": scores.balanced_accuracy,
    }


def final_probe(
    learner: Learner, *, untrained: Learner, train: ParticleStream, test: ParticleStream
) -> dict[str, Scores]:
    """Fit a linear probe on all of one split and score it on all of another.

    Parameters
    ----------
    learner, untrained : Learner
        The trained encoder, and the same before training.
    train, test : ParticleStream
        Fitted on, scored on.

    Returns
    -------
    dict of str to Scores
        By what was probed: the trained encoder, linearly and by its neighbours, the untrained
        one, hand-made features, and the majority class.
    """
    scores: dict[str, Scores] = {}
    for name, features in (
        ("trained encoder", learner.represent),
        ("untrained encoder", untrained.represent),
        ("hand-made features", handcrafted_features),
    ):
        fitted, scored = (collect(s.sequential(_BATCH), features=features) for s in (train, test))
        scores[f"{name}, linear"] = linear_probe(fitted, test=scored)
        if name != "hand-made features":  # their units have no common scale to compare by
            scores[f"{name}, kNN"] = nearest_neighbours(fitted, test=scored)
    scores["majority class"] = majority(fitted, test=scored)
    return scores


def format_probe(scores: Mapping[str, Scores]) -> str:
    """Lay the scores out as a table."""
    width = max(map(len, scores))
    lines = [f"{'':{width}}  accuracy  balanced"]
    for name, score in scores.items():
        lines.append(
            f"{name:{width}}  {100 * score.accuracy:6.1f} %  {100 * score.balanced_accuracy:6.1f} %"
        )
    return "\n".join(lines)
