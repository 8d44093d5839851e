"""From shards to batches of particles.

=========  ==================================================================================
config     `StreamConfig`: what a stream reads
layout     the particles of a split as numbers; which of them are kept
sampling   plans the batches of an epoch from sizes, labels and a seed; reads nothing
reader     reads particles of a split by their numbers
worker     a process that reads
loader     reads in such processes, ahead of time
stream     `ParticleStream`, which uses all of these
mixed      `MixedStream`, half of each batch of particles without labels
=========  ==================================================================================
"""
