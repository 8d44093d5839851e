"""From shards to batches of particles.

=========  ==================================================================================
config     `StreamConfig`: what a stream reads
layout     sizes and labels of the particles of a split, which shard and block each is in
filters    which particles are kept; how many are not, and why
sampling   plans the batches of an epoch from sizes, labels and a seed; reads nothing
reader     reads particles of a split by their numbers
loader     reads in other processes, ahead of time
stream     `ParticleStream`, which uses all of these
=========  ==================================================================================
"""
