"""The device of a process."""

from __future__ import annotations

import torch

from pilarnet_convert.options import OptionError

__all__ = ["pick_device"]


def pick_device(name: str, *, local_rank: int = 0) -> torch.device:
    """Find the device of a process.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    local_rank : int
        Number of this process on its machine; it picks the GPU of ``auto`` and ``cuda``.

    Raises
    ------
    OptionError
        The name is not a device, or the GPU does not exist.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        device = torch.device(name)
    except RuntimeError:
        device = None
    if device is None or device.type not in ("cpu", "cuda"):
        raise OptionError(
            "unknown device", field="--device", expected="auto, cpu, cuda or cuda:N", found=name
        )
    if device.type == "cpu":
        return device
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    index = local_rank if device.index is None else device.index
    if not count:
        raise OptionError(
            "CUDA is not available",
            field="--device",
            found=f"cuda:{index}",
            advice="use --device cpu, or install a torch built for CUDA and its driver",
        )
    if index >= count:
        raise OptionError(
            "no such GPU",
            field="--device",
            expected=f"cuda:0 to cuda:{count - 1}",
            found=f"cuda:{index}",
            advice="start at most one process per GPU",
        )
    return torch.device("cuda", index)
