"""Published lists of augmentations and training settings, by name.

A preset gives values to options of ``clr-train``; a flag overrides it, and it overrides --config.
config.toml and checkpoints hold the values, not the name of the preset.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Final

__all__ = ["AUGMENTATION_PRESETS", "RECIPES"]

_STANDARD_NAMES: Final = ("identity", "rotate", "drop", "scale-energy", "jitter")
_STANDARD: Final[Mapping[str, Any]] = {
    "augmentations": _STANDARD_NAMES,
    "num_augmentations": 3,
    "draw": "with-replacement",
    "drop_probability": 0.1,
    "scale_energy_sigma": 0.25,
    "jitter_voxels": 0.3,
}

#: Options of views. The first is the README of the original study's code (arXiv:2502.07724), the
#: next two are the configurations that it published as "standard" and "tuned". The last imitates
#: another detector: diffusion, thresholds, noise on voxels and noise voxels.
AUGMENTATION_PRESETS: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "original": {
            "augmentations": ("rotate", "translate", "shift-energy", "drop"),
            "num_augmentations": 2,
            "draw": "without-replacement",
            "translate_voxels": 51.2,
            "shift_energy": 0.1,
            "drop_probability": 0.1,
        },
        "paper-standard": _STANDARD,
        "paper-tuned": {
            **_STANDARD,
            "augmentations": (*_STANDARD_NAMES, "shift-energy-normal"),
            "shift_energy_sigma": 0.25,
        },
        "detector": {
            "augmentations": ("rotate", "noise", "threshold", "throw", "smear-energy"),
            "num_augmentations": 2,
            "draw": "without-replacement",
            "noise_fraction": 0.2,
            "noise_energy_mev": 0.2,
            "threshold_mev": 0.2,
            "throw_strength": 0.5,
            "smear_energy_mev": 0.05,
        },
    }
)

#: Options of training. Adam is AdamW without weight decay.
RECIPES: Final[Mapping[str, Mapping[str, Any]]] = MappingProxyType(
    {
        "paper": {
            "batch_size": 672,
            "lr": 1e-4,
            "lr_decay": 0.95,
            "warmup": 0.0,
            "weight_decay": 0.0,
            "beta2": 0.999,
            "clip_norm": float("inf"),
            "temperature": 0.1,
        }
    }
)
