"""Devices and processes; signals, which end a run in order; kernels, where Triton's run."""
