"""Devices and processes; signals, which end a run in order; kernels, whether Triton's can run."""
