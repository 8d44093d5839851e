"""From shards to batches of particles.

=========  ==================================================================================
config     `StreamConfig`: what a stream reads
layout     sizes and labels of the particles of a split, which shard and block each is in
filters    which particles are kept
sampling   the batches of an epoch, planned from sizes, labels and a seed; nothing is read
reader     reads particles of a split by their numbers
loader     reads in other processes, ahead of time
summary    how many particles are used, and why others are not
stream     `ParticleStream`, which joins these
=========  ==================================================================================
"""
