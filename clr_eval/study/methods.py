"""The methods that a study compares."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from pilarnet_convert.species import OTHER_COLOURS

__all__ = ["DEFAULT_METHODS", "PRETRAININGS", "STUDY_METHODS", "Pretraining", "StudyMethod"]


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """How an encoder is trained before labels are fitted.

    Parameters
    ----------
    shards : {"nominal", "target"}
        What it is trained on.
    with_target : bool
        Whether half of each batch is of the target, without labels.
    loss : {"simclr", "supervised"}
        As the option of ``clr-train``. All labels of the nominal set are seen by ``supervised``.
    """

    shards: str = "nominal"
    with_target: bool = False
    loss: str = "simclr"

    @property
    def needs_target(self) -> bool:
        """Whether it uses particles of the target."""
        return self.with_target or self.shards == "target"


#: By the names of their folders.
PRETRAININGS: Final[Mapping[str, Pretraining]] = MappingProxyType(
    {
        "simclr-target": Pretraining(shards="target"),
        "simclr-nominal": Pretraining(),
        "simclr-both": Pretraining(with_target=True),
        "supervised-nominal": Pretraining(loss="supervised"),
        "supervised-both": Pretraining(loss="supervised", with_target=True),
    }
)


@dataclass(frozen=True, kw_only=True)
class StudyMethod:
    """One way to learn from labels of the nominal set, and to classify particles of every domain.

    Parameters
    ----------
    title : str
        Its name in tables and legends.
    pretraining : str or None
        A name of `PRETRAININGS`; None for a network from random weights, or for none.
    fit : {"linear", "finetune", "scratch", "dann", "trees"}
        How labels are fitted: a linear probe of frozen features, the whole network, or boosted
        trees on handcrafted features.
    colour, line : str
        How it is drawn, in one of `OTHER_COLOURS`.
    """

    title: str
    pretraining: str | None = None
    fit: str = "linear"
    colour: str
    line: str = "-"

    @property
    def needs_target(self) -> bool:
        """Whether it uses particles of the target."""
        pretraining = PRETRAININGS[self.pretraining] if self.pretraining else Pretraining()
        return self.fit == "dann" or pretraining.needs_target


#: By their names in the file of a study.
STUDY_METHODS: Final[Mapping[str, StudyMethod]] = MappingProxyType(
    {
        "classifier": StudyMethod(
            title="supervised classifier", fit="scratch", colour=OTHER_COLOURS["wine"], line="--"
        ),
        "simclr-target": StudyMethod(
            title="SimCLR on the target, linear probe",
            pretraining="simclr-target",
            colour=OTHER_COLOURS["sky"],
        ),
        "simclr-nominal": StudyMethod(
            title="SimCLR on nominal, linear probe",
            pretraining="simclr-nominal",
            colour=OTHER_COLOURS["indigo"],
        ),
        "simclr-both": StudyMethod(
            title="SimCLR on both, linear probe",
            pretraining="simclr-both",
            colour=OTHER_COLOURS["black"],
        ),
        "finetuned": StudyMethod(
            title="SimCLR on nominal, fine-tuned",
            pretraining="simclr-nominal",
            fit="finetune",
            colour=OTHER_COLOURS["indigo"],
            line="-.",
        ),
        "supervised": StudyMethod(
            title="supervised contrastive, linear probe",
            pretraining="supervised-nominal",
            colour=OTHER_COLOURS["brown"],
        ),
        "supervised-both": StudyMethod(
            title="supervised contrastive and target, linear probe",
            pretraining="supervised-both",
            colour=OTHER_COLOURS["brown"],
            line="-.",
        ),
        "dann": StudyMethod(title="DANN", fit="dann", colour=OTHER_COLOURS["grey"], line="-."),
        "handcrafted": StudyMethod(
            title="handcrafted features, boosted trees",
            fit="trees",
            colour=OTHER_COLOURS["olive"],
            line=":",
        ),
    }
)
#: Those of the figure of the original study (arXiv:2502.07724), and the baseline.
DEFAULT_METHODS: Final = (
    "classifier",
    "simclr-target",
    "simclr-nominal",
    "supervised",
    "dann",
    "handcrafted",
)
