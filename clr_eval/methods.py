"""The parts of a report, and the methods that it compares."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

from pilarnet_convert.species import OTHER_COLOURS

__all__ = ["CLASSIFYING_PARTS", "CLASS_WEIGHTS", "METHODS", "PARTS", "Method", "main_methods"]

#: The parts of a report, and what each contains.
PARTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "probe": "linear, neighbour and tree probes of frozen features; baselines",
        "finetune": "fine-tuning of the whole network",
        "scratch": "the same network trained from scratch",
        "robustness": "all of these on corrupted test data",
        "by-energy": "all of these in bins of deposited energy and of number of voxels",
        "map": "the embedding in two dimensions, and nearest neighbours",
    }
)
#: The parts that classify particles; the others look at their results, or at features.
CLASSIFYING_PARTS: Final = ("probe", "finetune", "scratch")

#: How particles are weighted in all that is fitted, and what that aims at.
CLASS_WEIGHTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "balanced": "Every class weighs the same in what is fitted, which aims at balanced "
        "accuracy; in kNN each neighbour has one vote.",
        "none": "Every particle weighs the same in what is fitted, which aims at accuracy.",
    }
)


@dataclass(frozen=True, kw_only=True)
class Method:
    """One way to classify particles.

    Attributes
    ----------
    title : str
        Its name in tables and legends.
    part : str
        The part of the report that it belongs to.
    features : str or None
        The features that it sees, ``trained``, ``untrained`` or ``handcrafted``; None if it is a
        network that sees voxels.
    classifier : str or None
        A name of `clr_train.probe.classifiers.CLASSIFIERS`; None for a network.
    colour, line : str
        Its colour, one of `OTHER_COLOURS`, and the style of its line; methods without pretraining
        are not solid.
    main : bool
        Whether it has a confusion matrix and is evaluated for robustness and in bins.
    """

    title: str
    part: str = "probe"
    features: str | None = None
    classifier: str | None = None
    colour: str
    line: str = "-"
    main: bool = False


def _probe(title: str, features: str, classifier: str, colour: str, **drawn: Any) -> Method:
    return Method(title=title, features=features, classifier=classifier, colour=colour, **drawn)


#: By their names in report.json.
METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        "finetuned": Method(
            title="pretrained, fine-tuned",
            part="finetune",
            colour=OTHER_COLOURS["black"],
            main=True,
        ),
        "linear": _probe(
            "pretrained, linear probe", "trained", "linear", OTHER_COLOURS["indigo"], main=True
        ),
        "knn": _probe("pretrained, kNN", "trained", "knn", OTHER_COLOURS["sky"]),
        "trees": _probe(
            "pretrained, boosted trees", "trained", "trees", OTHER_COLOURS["indigo"], line="-."
        ),
        "scratch": Method(
            title="trained from scratch",
            part="scratch",
            colour=OTHER_COLOURS["wine"],
            line="--",
            main=True,
        ),
        "handcrafted-trees": _probe(
            "handcrafted features, boosted trees",
            "handcrafted",
            "trees",
            OTHER_COLOURS["olive"],
            line="--",
            main=True,
        ),
        "handcrafted-linear": _probe(
            "handcrafted features, linear",
            "handcrafted",
            "linear",
            OTHER_COLOURS["olive"],
            line=":",
        ),
        "untrained-linear": _probe(
            "untrained encoder, linear probe",
            "untrained",
            "linear",
            OTHER_COLOURS["brown"],
            line="--",
        ),
        "untrained-knn": _probe(
            "untrained encoder, kNN", "untrained", "knn", OTHER_COLOURS["brown"], line=":"
        ),
        "majority": _probe(
            "majority class", "handcrafted", "majority", OTHER_COLOURS["grey"], line=":"
        ),
    }
)


def main_methods(names: Collection[str]) -> list[str]:
    """Return the main methods among `names`, in the order of `METHODS`."""
    return [name for name, method in METHODS.items() if method.main and name in names]
