"""What is computed together: one seed of the methods that share a pretraining.

The command calls such a group a run. Groups are independent of each other.
"""

from __future__ import annotations

from dataclasses import dataclass

from clr_eval.study.config import StudyConfig
from clr_eval.study.methods import STUDY_METHODS

__all__ = ["SeedGroup", "list_groups"]


@dataclass(frozen=True, kw_only=True)
class SeedGroup:
    """One seed of the methods that share a pretraining, or of one method that has none.

    Attributes
    ----------
    name : str
        The pretraining, or the method that has none.
    seed : int
        The seed.
    methods : tuple of str
        Names of `clr_eval.study.methods.STUDY_METHODS`.
    """

    name: str
    seed: int
    methods: tuple[str, ...]


def list_groups(config: StudyConfig) -> list[SeedGroup]:
    """List the groups of a study, those with the same seed one after the other."""
    methods: dict[str, list[str]] = {}
    for name in config.methods:
        methods.setdefault(STUDY_METHODS[name].pretraining or name, []).append(name)
    return [
        SeedGroup(name=name, seed=seed, methods=tuple(together))
        for seed in config.seeds
        for name, together in methods.items()
    ]
