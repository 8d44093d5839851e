"""Evaluation of a pretrained encoder: its features in a file, and a report of its performance.

=============== ================================================================
methods         the parts of a report and the methods that it compares
config          the options of the commands
corruptions     test data with noise, lost voxels, another energy scale, ...
timing          how long work takes for each particle, measured before it begins
progress        how long parts of a report take, and how much of that is done
cache           results of a report, kept under a key of all they depend on
embedding/      a split in memory, its features, and files of them
finetune        training the whole network as a classifier
probes          classifiers on frozen features
evaluation      the encoder, the particles, and the predictions of every method
metrics         metrics of predictions, with intervals
binned_metrics  the same in bins of energy and size
robustness      metrics on corrupted test data
embedding_map   a map of the embedding, and nearest neighbours
report/         pictures, Markdown and HTML, and the report as a whole
study/          methods compared as the detector departs from the simulation
cli             the commands clr-embed and clr-eval
=============== ================================================================

Each module imports only from those above it, from `clr_train` and from `pilarnet_convert`.

In a notebook::

    from clr_eval import embed

    test = embed("runs/first/checkpoints/best.pt", "shards/", split="test")
    test.features, test.label, test.columns["pdg"]
"""

import lazy_loader

# The stub beside this file lists the public names; each is imported at its first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
