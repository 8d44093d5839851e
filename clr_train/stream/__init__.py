"""From shards to batches of particles."""
