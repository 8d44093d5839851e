"""Where a training step would wait for a GPU or add in no fixed order, observed on the CPU.

The step takes the GPU's way wherever the two differ, and a mode of torch's dispatcher watches each
operation. One whose result sets a value or a shape on the CPU would be a synchronisation with a
GPU. One that scatters floating-point numbers onto each other would add them there in arbitrary
order, so that two runs differ.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._python_dispatch import (
    TorchDispatchMode,
    _disable_current_modes,
    _get_current_dispatch_mode,
)

import clr_train
from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.runtime.processes import World
from clr_train.sparse import kernel_map, torch_engine
from clr_train.sparse.depthwise import depthwise
from clr_train.sparse.kernel_map import DepthwiseMap
from clr_train.train import _compute_gradients
from clr_train.training.optimizer import make_optimizer
from clr_train.training.resume import TrainingRun
from tests.clr_train.batches import make_batch
from tests.clr_train.test_views import take_the_gpu_s_way

PACKAGE = Path(clr_train.__file__).parent
WAITS = {
    "_local_scalar_dense", "nonzero", "_unique2", "unique_dim", "unique_consecutive", "bincount",
    "masked_select", "equal", "is_nonzero", "lift_fresh", "_linalg_eigh",
}  # fmt: skip
UNORDERED = {
    "index_add", "index_add_", "scatter_add", "scatter_add_", "scatter_reduce", "scatter_reduce_",
    "index_put", "index_put_", "_index_put_impl_", "put_", "cumsum", "embedding_dense_backward",
}  # fmt: skip
#: Of the loss, the gradient of the similarity to the other view: one number for each place.
ONCE = {"training/gradient_cache.py: scatter_add": 1}


def innermost_module() -> str:
    """Name the module of the package that is running."""
    frame = sys._getframe(1)
    while frame is not None:
        path = Path(frame.f_code.co_filename)
        if path.is_relative_to(PACKAGE):
            return path.relative_to(PACKAGE).as_posix()
        frame = frame.f_back
    return "elsewhere"


class Watch(TorchDispatchMode):
    """Counts, by module, what would wait for a GPU and what would add in arbitrary order."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: Counter[str] = Counter()
        self.unordered: Counter[str] = Counter()

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        name = func.overloadpacket.__name__
        if name in WAITS or (name == "repeat_interleave" and kwargs.get("output_size") is None):
            self.waits[innermost_module()] += 1
        if name == "index" and any(t is not None and t.dtype == torch.bool for t in args[1]):
            self.waits[innermost_module()] += 1
        out = func(*args, **kwargs)
        if name in UNORDERED and isinstance(out, Tensor) and out.is_floating_point():
            self.unordered[f"{innermost_module()}: {name}"] += 1
        return out


def as_triton_does(
    x: Tensor, weight: Tensor, bias: Tensor | None, *, pairs: DepthwiseMap
) -> Tensor:
    """Convolve by the plain path, whose chunks are cut unseen; Triton's has none."""
    _ = pairs.by_kernel
    with _disable_current_modes():
        return depthwise(x, weight, bias, pairs=pairs)


def watched_step(monkeypatch: pytest.MonkeyPatch, **options: Any) -> Watch:
    take_the_gpu_s_way(monkeypatch)
    monkeypatch.setattr(kernel_map, "_searches_planes", lambda _keys: False)
    monkeypatch.setattr(torch_engine, "_DENSE_CHANNELS", 1 << 30)
    monkeypatch.setattr(torch_engine, "depthwise", as_triton_does)
    config = TrainConfig(precision="bf16", **options)
    cpu = torch.device("cpu")
    learner = Learner(config, device=cpu)
    optimizer = make_optimizer(learner.model.parameters(), weight_decay=0.05)
    stream: Any = SimpleNamespace(num_batches=1)
    run = TrainingRun(
        config=config, stream=stream, learner=learner, optimizer=optimizer, total_steps=1
    )
    batch, watch = make_batch(4, 12), Watch()
    world = World(rank=0, size=1, device=cpu)
    _compute_gradients(run, batch, epoch=0, world=world)  # copies constants to the device, once
    whole = Tensor.tolist

    def tolist(tensor: Tensor) -> Any:
        if _get_current_dispatch_mode() is watch:
            watch.waits[innermost_module()] += 1
        return whole(tensor)

    monkeypatch.setattr(Tensor, "tolist", tolist)
    with watch:
        _compute_gradients(run, batch, epoch=0, world=world)
    return watch


@pytest.mark.parametrize(("model", "levels", "maps"), [("atto", 3, 3), ("zepto", 2, 1)])
def test_a_step_waits_for_sizes_and_for_its_figures(
    model: str, levels: int, maps: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    watch = watched_step(monkeypatch, model=model)
    # The sites of the views, those of each level, the pairs of each map, and the figures of
    # the step. Nothing else, whatever the model.
    expected = {
        "views/quantise.py": 1,
        "sparse/kernel_map.py": levels,
        "ragged.py": maps,
        "train.py": 1,
    }
    if model == "zepto":
        expected["network/shape.py"] = 1  # principal axes: torch looks whether they converged
    assert watch.waits == expected
    assert watch.unordered == ONCE


def test_views_of_all_augmentations_add_in_order(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("throw", "noise", "threshold", "crop", "cutout", "drop", "rotate", "jitter")
    watch = watched_step(monkeypatch, model="zepto", augmentations=names, num_augmentations=8)
    assert watch.unordered == ONCE
