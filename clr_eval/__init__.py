"""What a pretrained encoder is worth: its features as a file, and a report that judges them.

Imports run one way: this package uses `clr_train` and `pilarnet_convert`, and neither knows it::

    ragged, cache, output -> data -> embedding -> cli
    names -> config, probes, classifier, disturb -> subject -> robustness, atlas
    scores -> failures -> figures, portraits, text -> report -> cli

========== =====================================================================
names      the methods that are compared, their names and colours
config     the options of a report
ragged     picking particles out of a ragged batch
data       a split in memory: voxels, labels, provenance; the subsets that are labelled
output     embeddings as .zarr, .parquet, .npz or .h5
embedding  features of a split, in the order of the shards
probes     classifiers on frozen features
classifier the whole network with a linear head: fine-tuned, or trained from scratch
disturb    test data made worse: energy scale, lost voxels, noise, ...
cache      what a report has computed, by a key of what it depends on
subject    an encoder, the particles it is judged on, and every method's predictions of them
robustness predictions for test data made worse
atlas      a map of the embedding in two dimensions, and nearest neighbours
scores     what predictions are worth, with intervals
failures   the same in bins of energy and size
figures    pictures of curves and tables; portraits those of particles
text       report.md
report     the report as a whole: report.json
========== =====================================================================

In a notebook::

    from clr_eval import embed

    test = embed("runs/first/checkpoints/best.pt", "shards/", split="test")
    test.features, test.label, test.columns["pdg"]
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__all__ = ["EvalConfig", "embed", "embed_to_file", "evaluate"]

if TYPE_CHECKING:
    from clr_eval.config import EvalConfig
    from clr_eval.embedding.features import embed, embed_to_file
    from clr_eval.report.report import evaluate

_HOMES = {
    "EvalConfig": "config",
    "embed": "embedding.features",
    "embed_to_file": "embedding.features",
    "evaluate": "report.report",
}


def __getattr__(name: str) -> Any:
    """Import a public function at its first use, so that importing a part costs just that part."""
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
