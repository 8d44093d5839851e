"""Contrastive pretraining of a sparse network on the particle shards of ``pilarnet_convert``.

=========  ====================================================================================
stream     shards to ragged batches of particles (``batch``): planned, filtered, read
views      two augmented views of each particle, as sites of a sparse tensor
network    a sparse ConvNeXt V2 and its projection head, built on the convolutions of ``sparse``
loss       NT-Xent and its supervised form, over blocks and processes
learner    the network with its engine, device, precision and views
train      the training loop of the command ``clr-train`` (``cli``, ``config``)
training   gradients of a step, optimizer, checkpoints, validation, output
probe      probes and other measures of features, and handcrafted features to compare with
export     an encoder by itself, features of a user's own arrays, the command ``clr-export``
runtime    devices, processes and signals
keys       random numbers, keyed by seed, epoch, particle and use (``triton_keys`` on CUDA)
ragged     which rows of a ragged tensor belong to which particle
site_keys  sites of a sparse tensor as sorted integers
presets    published lists of augmentations and training settings
=========  ====================================================================================

To pretrain from Python, and to use the encoder::

    from clr_train import TrainConfig, collect, load_learner, open_stream, pretrain

    config = TrainConfig(shards="shards/", out="runs/first", epochs=5)
    result = pretrain(config)
    learner = load_learner(result.checkpoint)
    stream = open_stream(config, split="test")
    features = collect(stream.sequential(256), features=learner.represent)

To use an exported encoder on your own arrays::

    from clr_train import embed, load_encoder

    features = embed(load_encoder("encoder/"), xyz, energy, offset)
"""

import lazy_loader

# The stub beside this file lists the public names; each is imported at its first use.
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
