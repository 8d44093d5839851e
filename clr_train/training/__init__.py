"""The parts of a training run: steps, checkpoints, records."""
