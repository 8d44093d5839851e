"""The model card of an exported encoder: Markdown under the metadata that the hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

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

A sparse ConvNeXt V2 ({name}, {millions:.1f} million parameters), pretrained by contrasting
augmented views of single particles (SimCLR). It turns the voxels of a particle, with their energies
in MeV, into {features} features. The projection head of the pretraining is left out.

## Use

```python
from clr_train import embed, load_encoder

encoder = load_encoder("path/of/this/folder")
features = embed(encoder, xyz, energy, offset)  # [particles, {features}]
```

`xyz` are the voxels of all particles (whole numbers, [voxels, 3]), `energy` the energy deposited
in each (MeV), and particle i owns the voxels `offset[i]` to `offset[i + 1]`. Energies enter the
network as {transform}.
"""


def model_card(about: Mapping[str, Any]) -> str:
    """Write the card from the contents of ``config.json``."""
    training = about["training"]
    head = _HEAD.format(
        name=about["encoder"]["name"],
        millions=about["num_parameters"] / 1e6,
        features=about["out_features"],
        transform=about["energy_transform_meaning"],
    )
    sections = [head, *_data(training), *_scores(training["scores"]), _files(about)]
    return "\n".join(sections)


def _data(training: Mapping[str, Any]) -> Iterator[str]:
    options = training["options"]
    yield (
        f"## Training\n\n{training['steps']:,} steps of {options['batch_size']} particles, from a "
        f"split of {training['particles']:,}; loss {options['loss']} with a temperature of "
        f"{options['temperature']:g}; views by {options['num_augmentations']} of "
        f"{', '.join(options['augmentations'])}; seed {options['seed']}.\n"
    )
    data = training["shards"]
    if data is None:
        yield "The shards were not at hand when the encoder was exported.\n"
        return
    names = [source["name"] for source in data["sources"]]
    others = [f"{len(names) - _LISTED} others"] if len(names) > _LISTED else []
    sources = ", ".join(names[:_LISTED] + others)
    rows = [f"| {name} | {count:,} |" for name, count in data["particles"].items()]
    yield (
        f"Shards with the checksum `{data['identity']}`, made from {sources or 'unnamed sources'}."
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
        "## Validation\n\nOf the frozen features, on the validation split, at the step that was "
        "exported:\n\n| | accuracy | balanced accuracy |\n| --- | ---: | ---: |\n"
        + "\n".join(rows)
        + "\n"
    )


def _files(about: Mapping[str, Any]) -> str:
    weights = about["weights"]
    return (
        f"## Files\n\n`{weights['file']}` has {weights['size']:,} bytes, SHA-256 "
        f"`{weights['sha256']}`. `config.json` has the shape of the network, the energy transform, "
        f"the classes, all options of the training and the sources of its data. Made by "
        f"{about['created_by']}.\n"
    )
