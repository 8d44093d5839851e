"""The methods that are compared: what each is, what it is called, and how it is drawn."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

__all__ = ["CLASS_WEIGHTS", "METHODS", "PARTS", "Method"]

#: What a report is made of, and what each part tells.
PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "probe": "linear, neighbour and boosted-tree probes of the frozen features; baselines",
        "finetune": "fine-tuning of the whole network",
        "scratch": "the same network trained from scratch",
        "robustness": "all of these on test data made worse",
        "by-energy": "where they fail, by deposited energy and by number of voxels",
        "map": "the embedding in two dimensions, and nearest neighbours",
    }
)

#: What weighs the same in all that is fitted, and so which figure it is fitted for.
CLASS_WEIGHTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "balanced": "Every class weighs the same in what is fitted, which aims at balanced "
        "accuracy; only neighbours have a vote each.",
        "none": "Every particle weighs the same in what is fitted, which aims at accuracy.",
    }
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to classify particles.

    Parameters
    ----------
    title : str
        What it is called in tables and legends.
    part : str
        The part of the report that it belongs to.
    features : str or None
        The features that it sees, ``trained``, ``untrained`` or ``handmade``; None if it is a
        network that sees voxels.
    classifier : str or None
        A name of `clr_eval.probes.CLASSIFIERS`; None for a network.
    colour, line : str
        How it is drawn: colours of Okabe and Ito; what has seen no pretraining is dashed or dotted.
    robust : bool
        Whether it is tried on test data made worse.
    """

    title: str
    part: str
    features: str | None = None
    classifier: str | None = None
    colour: str
    line: str = "-"
    robust: bool = False


#: By the name that report.json uses.
METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "finetuned": Method(
            title="pretrained, fine-tuned", part="finetune", colour="#0072B2", robust=True
        ),
        "linear": Method(
            title="pretrained, linear probe",
            part="probe",
            features="trained",
            classifier="linear",
            colour="#009E73",
            robust=True,
        ),
        "knn": Method(
            title="pretrained, kNN",
            part="probe",
            features="trained",
            classifier="knn",
            colour="#56B4E9",
        ),
        "trees": Method(
            title="pretrained, boosted trees",
            part="probe",
            features="trained",
            classifier="trees",
            colour="#009E73",
            line="-.",
        ),
        "scratch": Method(
            title="trained from scratch",
            part="scratch",
            colour="#D55E00",
            line="--",
            robust=True,
        ),
        "handmade-trees": Method(
            title="hand-made features, boosted trees",
            part="probe",
            features="handmade",
            classifier="trees",
            colour="#E69F00",
            line="--",
            robust=True,
        ),
        "handmade-linear": Method(
            title="hand-made features, linear",
            part="probe",
            features="handmade",
            classifier="linear",
            colour="#E69F00",
            line=":",
        ),
        "untrained-linear": Method(
            title="untrained encoder, linear probe",
            part="probe",
            features="untrained",
            classifier="linear",
            colour="#CC79A7",
            line="--",
        ),
        "untrained-knn": Method(
            title="untrained encoder, kNN",
            part="probe",
            features="untrained",
            classifier="knn",
            colour="#CC79A7",
            line=":",
        ),
        "majority": Method(
            title="majority class",
            part="probe",
            features="handmade",
            classifier="majority",
            colour="#666666",
            line=":",
        ),
    }
)
