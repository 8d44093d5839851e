"""Evaluation of a pretrained encoder: its features in a file, and a report of its performance.

=============== ================================================================
methods         the parts of a report and the methods that it compares
config          the options of both commands
cache           results of a report, kept under a key of all they depend on
embedding/      a split in memory, its features, and files of them
finetune        training the whole network as a classifier
probes          classifiers on frozen features
evaluation      the encoder, the particles, and the predictions of every method
corruptions     test data with noise, lost voxels, another energy scale, ...
metrics         metrics of predictions, with intervals
binned_metrics  the same in bins of energy and size
robustness      metrics on corrupted test data
embedding_map   a map of the embedding, and nearest neighbours
report/         pictures, Markdown, and the report as a whole
cli             the commands clr-embed and clr-eval
=============== ================================================================

Each module imports only from those above it, from `clr_train` and from `pilarnet_convert`.

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
