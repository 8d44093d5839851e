"""The model card of an exported encoder: Markdown under the metadata that the hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

from pilarnet_convert.errors import counted

__all__ = ["model_card"]

#: Sources that the card names.
_LISTED: Final = 12
_HEAD: Final = """---
library_name: pilarnet-clr
pipeline_tag: feature-extraction
tags:
- lartpc
- particle-physics
- point-cloud
- contrastive-learning
- sparse-convolution
---

# Encoder of single particles in liquid argon

A sparse ConvNeXt V2 ({name}, {millions:.1f} million parameters), pretrained on augmented views of
single particles with {loss}.
It turns the voxels of a particle and their energies in MeV into {features} features. The projection
head of the pretraining is not included.

## Use

```python
from clr_train import embed, load_encoder

encoder = load_encoder("path/of/this/folder")
features = embed(encoder, xyz, energy, offset)  # [particles, {features}]
```

`xyz` holds the voxel indices of all particles (whole numbers, [voxels, 3]) and `energy` the energy
deposited in each voxel (MeV). Particle i owns the voxels `offset[i]` to `offset[i + 1]`, end
excluded. Energies enter the network as {transform}.
"""
_LOSSES: Final = {
    "simclr": "SimCLR's contrastive loss, without labels",
    "supervised": "the supervised contrastive loss, which uses the labels",
}


def model_card(about: Mapping[str, Any]) -> str:
    """Write the card from the contents of ``config.json``."""
    training = about["training"]
    head = _HEAD.format(
        name=about["encoder"]["name"],
        millions=about["num_parameters"] / 1e6,
        features=about["out_features"],
        loss=_LOSSES[training["options"]["loss"]],
        transform=about["energy_transform_meaning"],
    )
    sections = [head, *_data(training), *_scores(training["scores"]), _files(about)]
    return "\n".join(sections)


def _data(training: Mapping[str, Any]) -> Iterator[str]:
    options = training["options"]
    yield (
        f"## Training\n\n{counted(training['steps'], 'step')} of {options['batch_size']} "
        f"particles, drawn from {training['particles']:,}. Loss {options['loss']} at temperature "
        f"{options['temperature']:g}; {options['num_augmentations']} augmentations a view, drawn "
        f"from {', '.join(options['augmentations'])}; seed {options['seed']}.\n"
    )
    yield from _shards("Shards", training["shards"])
    if "unlabelled" in training:
        yield from _shards(
            "Shards whose labels were not used, half of each batch,", training["unlabelled"]
        )


def _shards(title: str, data: Mapping[str, Any]) -> Iterator[str]:
    text = f"{title} with the checksum `{data['identity']}`"
    if data["sources"] is None:
        yield f"{text}; they were not available when the encoder was exported.\n"
        return
    names = [source["name"] for source in data["sources"]]
    others = [f"{len(names) - _LISTED} others"] if len(names) > _LISTED else []
    sources = ", ".join(names[:_LISTED] + others)
    rows = [f"| {name} | {count:,} |" for name, count in data["particles"].items()]
    yield (
        f"{text}, made from {sources or 'unnamed sources'}."
        "\n\n| class | particles |\n| --- | ---: |\n" + "\n".join(rows) + "\n"
    )


def _scores(scores: Mapping[str, float]) -> Iterator[str]:
    if not scores:
        return
    rows = []
    for what, prefix in (
        ("this encoder, linear probe", "linear"),
        ("this encoder, nearest neighbours", "knn"),
        ("untrained encoder, linear probe", "untrained_linear"),
        ("untrained encoder, nearest neighbours", "untrained_knn"),
        ("majority class", "majority"),
    ):
        kinds = (f"val_{prefix}_accuracy", f"val_{prefix}_balanced_accuracy")
        if all(kind in scores for kind in kinds):
            cells = " | ".join(f"{100 * scores[kind]:.1f} %" for kind in kinds)
            rows.append(f"| {what} | {cells} |")
    yield (
        "## Validation\n\nProbes of the frozen features, on the validation split, at the exported "
        "step:\n\n| | accuracy | balanced accuracy |\n| --- | ---: | ---: |\n"
        + "\n".join(rows)
        + "\n"
    )


def _files(about: Mapping[str, Any]) -> str:
    weights = about["weights"]
    return (
        f"## Files\n\n`{weights['file']}` has {weights['size']:,} bytes and the SHA-256 "
        f"`{weights['sha256']}`. `config.json` describes the network, the energy transform, the "
        f"classes, the options of the training and the sources of its data. Written by "
        f"{about['created_by']}.\n"
    )
