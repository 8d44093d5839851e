"""Metrics of a study: accuracy by domain, stability of particles, and what features hold."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from clr_eval.cache import Arrays
from clr_eval.embedding.split import PROVENANCE, LoadedSplit
from clr_eval.metrics import probability_metrics, weighted_auc
from clr_train.probe.classifiers import fit_classifier

__all__ = [
    "direction_angle",
    "domain_auc",
    "domain_metrics",
    "energy_r2",
    "match_particles",
    "stability",
]

#: What identifies a particle in both files of a pair; clusters may be numbered differently.
_IDENTITY: Final = ("run", "subrun", "event", "track_id")
_SEED: Final = 0
_RIDGE: Final = 1.0
#: Share of the particles whose angle is below the one that is reported.
_WITHIN: Final = 0.68

Floats = NDArray[np.float64]


def domain_metrics(
    results: Sequence[Arrays],
    *,
    domains: Mapping[str, LoadedSplit],
    count: int | None,
    resamples: int,
) -> dict[str, Any]:
    """Compute the metrics of a method in each domain, of its seeds together.

    Parameters
    ----------
    results : sequence of dict
        What `clr_eval.study.results.StudyResults.result` gives for each seed.
    domains : mapping of str to LoadedSplit
        The first is the reference.
    count : int or None
        How many labels were learnt from; None for all.
    resamples : int
        Bootstrap resamples of each interval.

    Returns
    -------
    dict
        By domain what `clr_eval.metrics.probability_metrics` gives, and ``difference``: the
        balanced accuracy less that in the reference, as ``value``, ``seeds`` and ``spread``.
    """
    found: dict[str, Any] = {}
    for name, split in domains.items():
        probabilities = np.stack([result[f"{name}/{count or 0}"] for result in results])
        found[name] = probability_metrics(
            split.label, probabilities, resamples=resamples, seed=_SEED
        )
    reference = np.array(found[next(iter(domains))]["balanced_accuracy"]["seeds"])
    for metrics in found.values():
        difference = np.array(metrics["balanced_accuracy"]["seeds"]) - reference
        metrics["difference"] = {
            "value": float(difference.mean()),
            "seeds": difference.tolist(),
            "spread": float(difference.std(ddof=1)) if len(difference) > 1 else None,
        }
    return found


def match_particles(
    first: LoadedSplit, second: LoadedSplit
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Find the particles that are in both, by event and track.

    If all of `PROVENANCE` is the same, as under a throw, so are the particles. Otherwise those of
    unknown track are left out, and those whose numbers others of the same domain have too, as
    events of several files may.

    Returns
    -------
    first, second : int64 arrays [n]
        Positions of the same particles in either.
    """
    if len(first) == len(second) and all(
        np.array_equal(first.columns[name], second.columns[name], equal_nan=True)
        for name in PROVENANCE
    ):
        return np.arange(len(first)), np.arange(len(first))
    rows, others = (_rows_by_identity(split) for split in (first, second))
    both = [identity for identity in rows if identity in others]
    return (
        np.array([rows[identity] for identity in both], np.int64),
        np.array([others[identity] for identity in both], np.int64),
    )


def _rows_by_identity(split: LoadedSplit) -> dict[tuple[int, ...], int]:
    """Return the row of each particle whose identity is known and its own."""
    identities = list(zip(*(split.columns[name].tolist() for name in _IDENTITY), strict=True))
    times = Counter(identities)
    return {
        identity: row
        for row, identity in enumerate(identities)
        if times[identity] == 1 and split.columns["track_id"][row] >= 0
    }


def stability(
    results: Sequence[Arrays],
    *,
    reference: str,
    domain: str,
    domains: Mapping[str, LoadedSplit],
    count: int | None,
) -> dict[str, float] | None:
    """Measure how much the same particles differ between two domains, mean over the seeds.

    Parameters are as for `domain_metrics`; `reference` and `domain` are names of `domains`.

    Returns
    -------
    dict or None
        ``particles`` in both; ``probability``, the mean of |p - p'| of the true class;
        ``same_class``, the fraction that is assigned to the same class; ``cosine``, the mean
        cosine of the features, for methods that keep them. None where no particle is in both.
    """
    first, second = match_particles(domains[reference], domains[domain])
    if not len(first):
        return None
    true = np.arange(len(first)), domains[reference].label[first]
    found: dict[str, list[float]] = {}
    for result in results:
        before = result[f"{reference}/{count or 0}"][first]
        after = result[f"{domain}/{count or 0}"][second]
        change = np.abs(before[true] - after[true])
        found.setdefault("probability", []).append(change.mean())
        found.setdefault("same_class", []).append(np.mean(before.argmax(1) == after.argmax(1)))
        if f"{domain}/features" in result:
            a, b = result[f"{reference}/features"][first], result[f"{domain}/features"][second]
            norms = np.linalg.norm(a, axis=1) * np.linalg.norm(b, axis=1)
            cosine = (a * b).sum(1) / np.maximum(norms, 1e-12)
            found.setdefault("cosine", []).append(cosine.mean())
    return {"particles": len(first)} | {n: float(np.mean(v)) for n, v in found.items()}


def domain_auc(results: Sequence[Arrays], *, reference: str, domain: str) -> float | None:
    """Measure how well a linear classifier tells two domains apart by features.

    It is the area under the ROC curve, mean over the seeds, and 0.5 if it cannot. The classifier is
    fitted on the even particles of both domains and scored on the odd ones; None if a domain has
    only one particle.
    """
    if any(len(results[0][f"{name}/features"]) < 2 for name in (reference, domain)):
        return None
    areas = []
    for result in results:
        values = [result[f"{name}/features"] for name in (reference, domain)]
        fitted, scored = (np.concatenate([v[start::2] for v in values]) for start in (0, 1))
        labels = [np.repeat([0, 1], [len(v[start::2]) for v in values]) for start in (0, 1)]
        ranking = fit_classifier("linear", fitted, labels[0]).predict_proba(scored)[:, 1]
        areas.append(weighted_auc(labels[1] == 1, ranking, weights=np.ones((1, len(ranking))))[0])
    return float(np.mean(areas))


def energy_r2(
    result: Arrays, *, train: LoadedSplit, domains: Mapping[str, LoadedSplit]
) -> dict[str, dict[str, float]]:
    """Measure how well a ridge regression predicts the deposited energy from frozen features.

    The regressions are fitted on `train`.

    Returns
    -------
    dict
        For each domain where the deposited energies of particles are known and differ, R^2 of the
        logarithm of the energy in MeV: ``features``, predicted from the features, and ``sum``, from
        the logarithm of the sum of the voxels' energies. Empty if none is known in `train`.
    """
    wanted = _log_energy(train)
    use = np.isfinite(wanted)
    if not use.any():
        return {}
    kinds = ("features", "sum")
    predict = {
        k: _ridge(_inputs(result["train_features"], train, k)[use], wanted[use]) for k in kinds
    }
    found: dict[str, dict[str, float]] = {}
    for name, split in domains.items():
        truth = _log_energy(split)
        known = np.isfinite(truth)
        if not known.any() or not np.ptp(truth[known]):
            continue
        found[name] = {}
        for kind in kinds:
            read = predict[kind](_inputs(result[f"{name}/features"], split, kind)[known])
            found[name][kind] = float(1 - (truth[known] - read).var() / truth[known].var())
    return found


def direction_angle(
    result: Arrays, *, train: LoadedSplit, domains: Mapping[str, LoadedSplit]
) -> dict[str, dict[str, float]]:
    """Measure how well a ridge regression predicts the initial direction from frozen features.

    The regression is fitted on `train`.

    Returns
    -------
    dict
        For each domain where a momentum is known: the angle, in degrees, to the line of the
        momentum at creation within which 68 % of the particles are. ``features`` is that of the
        predicted direction, ``axis`` that of the longest principal axis of the voxels. An axis has
        no orientation, so opposite directions count as the same; 68 % of random directions are
        within 71 degrees.
    """
    wanted, use = _directions(train)
    if not use.any():
        return {}
    predict = _ridge(result["train_features"].astype(np.float64)[use], wanted[use])
    found: dict[str, dict[str, float]] = {}
    for name, split in domains.items():
        truth, known = _directions(split)
        if known.any():
            read = predict(result[f"{name}/features"].astype(np.float64)[known])
            found[name] = {
                "features": _angle(read, truth[known]),
                "axis": _angle(_principal_axes(split)[known], truth[known]),
            }
    return found


def _directions(split: LoadedSplit) -> tuple[Floats, NDArray[np.bool_]]:
    """Return unit vectors along the momentum [N, 3], and which of them are known."""
    momentum = split.columns["momentum"].astype(np.float64)
    size = np.linalg.norm(momentum, axis=1)
    known = np.isfinite(size) & (size > 0)
    return momentum / np.where(known, size, 1.0)[:, None], known


def _angle(found: Floats, truth: Floats) -> float:
    """Return the angle to lines along unit vectors within which 68 % are, degrees."""
    size = np.maximum(np.linalg.norm(found, axis=1), 1e-12)
    cosine = (abs((found * truth).sum(axis=1)) / size).clip(max=1)
    return float(np.quantile(np.degrees(np.arccos(cosine)), _WITHIN))


def _principal_axes(split: LoadedSplit) -> Floats:
    """Return the longest axis of each particle, [N, 3]."""
    axes = []
    for particle in split.batch.split(1):
        xyz = particle.xyz.numpy()
        place = xyz - xyz.mean(axis=0)
        axes.append(np.linalg.eigh(place.T @ place)[1][:, -1])
    return np.array(axes)


def _log_energy(split: LoadedSplit) -> Floats:
    energy = split.columns["energy_deposit"].astype(np.float64)
    return np.log(np.where(energy > 0, energy, np.nan))


def _inputs(features: NDArray[Any], split: LoadedSplit, kind: str) -> Floats:
    """Return what predicts the energy, [N, D]: features, or the logarithm of the sum in MeV."""
    if kind == "features":
        return features.astype(np.float64)
    total = split.batch.index.sum(split.batch.energy.double(), dim=-1).numpy()
    inputs: Floats = np.log(np.maximum(total, 1e-3))[:, None]
    return inputs


def _ridge(values: Floats, wanted: Floats) -> Any:
    """Fit standardised values; return a function from values to predictions."""
    mean, scale = values.mean(0), values.std(0) + 1e-9
    x = np.column_stack([(values - mean) / scale, np.ones(len(values))])
    weights = np.linalg.solve(x.T @ x + _RIDGE * np.eye(x.shape[1]), x.T @ wanted)
    return lambda v: np.column_stack([(v - mean) / scale, np.ones(len(v))]) @ weights
