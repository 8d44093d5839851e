"""Sparse convolutions on the sites of a batch: one interface, two engines.

==================  ==============================================================================
engine              the interface: Engine, SparseTensor
kernel_map          the sites of a level; neighbours and coarser levels by binary search
depthwise           the depth-wise convolution in plain torch operations
triton_depthwise    the same as Triton kernels, for CUDA
torch_engine        the engine in pure PyTorch
minkowski_engine    the engine on MinkowskiEngine 0.5.4; the one module that imports it
==================  ==============================================================================
"""

from __future__ import annotations

from importlib.util import find_spec

import torch

from clr_train.runtime.kernels import has_triton
from clr_train.sparse.engine import Engine, SparseTensor
from clr_train.sparse.torch_engine import TorchEngine
from pilarnet_convert.errors import PilarnetError

__all__ = ["ENGINES", "Engine", "SparseTensor", "TorchEngine", "get_engine"]

ENGINES = ("auto", "minkowski", "torch")


def get_engine(name: str = "auto", device: torch.device | str = "cpu") -> Engine:
    """Return an engine by name, for a network on `device`.

    ``auto`` takes the faster of those that work. That is ``torch``: it needs a fraction of
    MinkowskiEngine's time on the CPU, and computes in half precision on CUDA. Only on CUDA without
    Triton, if the installed MinkowskiEngine is the fork with a kernel for depth-wise convolutions,
    it is ``minkowski``.

    Raises
    ------
    PilarnetError
        The name is unknown.
    MissingDependencyError
        MinkowskiEngine is asked for and does not import, or not for this device.
    """
    if name not in ENGINES:
        raise PilarnetError(
            "unknown sparse engine", field="engine", expected=", ".join(ENGINES), found=name
        )
    device = torch.device(device)
    if name == "auto":
        name = "minkowski" if _prefer_minkowski(device) else "torch"
    if name == "torch":
        return TorchEngine()
    from clr_train.sparse.minkowski_engine import MinkowskiEngine

    return MinkowskiEngine(device)


def _prefer_minkowski(device: torch.device) -> bool:
    if device.type != "cuda" or has_triton() or not find_spec("MinkowskiEngine"):
        return False
    from clr_train.sparse.minkowski_engine import has_fused_depthwise

    return has_fused_depthwise(device)
