"""Where the time of a training step goes, by part of the program, with torch's profiler.

The parts are named from outside: while `named_parts` is entered, some functions of the package open
a range of the profiler, and the package itself has none. Work of the backward pass is given to the
part whose forward operation it belongs to, by the sequence number that autograd gives both.
"""

from __future__ import annotations

import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from functools import wraps
from itertools import islice
from typing import Any, Final
from unittest.mock import patch

import torch
from torch import nn
from torch.profiler import ProfilerActivity, profile, record_function

from clr_train import learner, train
from clr_train.network.layers import StridedConv
from clr_train.network.response_norm import GlobalResponseNorm
from clr_train.runtime.processes import World
from clr_train.sparse import torch_engine
from clr_train.sparse.kernel_map import DepthwiseMap, Sites
from clr_train.training.resume import start_run
from tests.benchmarks.gpu_parts import Figures, Setting, wait_for

__all__ = ["measure_profile"]

_MARK: Final = "part: "
#: A part, and what belongs to it: an object and the name of its function. The innermost counts.
_PARTS: Final[tuple[tuple[str, Any, str], ...]] = (
    ("views", learner, "make_views"),
    ("kernel maps", DepthwiseMap, "__init__"),
    ("kernel maps", DepthwiseMap, "by_kernel"),
    ("kernel maps", Sites, "coarser"),
    ("depth-wise", torch_engine.TorchSparseTensor, "depthwise_conv"),
    ("between stages", StridedConv, "forward"),
    ("pointwise", nn.Linear, "forward"),
    ("pointwise", nn.GELU, "forward"),
    ("norms", nn.LayerNorm, "forward"),
    ("norms", GlobalResponseNorm, "forward"),
    ("loss", learner.Learner, "loss"),
    ("optimizer", torch.optim.AdamW, "step"),
    ("optimizer", torch.nn.utils, "clip_grad_norm_"),
)
_REST: Final = "the rest"
_LAUNCHES: Final = ("cudaLaunchKernel", "cuLaunchKernel")
_COLUMNS: Final = ("device_ms", "host_ms", "operations", "launches", "waits")
_WAITS: Final = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize")
_LISTED: Final = 20


@contextmanager
def named_parts() -> Iterator[None]:
    """Open a range of the profiler around the functions of each part."""

    def named(part: str, function: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(function)
        def inside(*args: Any, **kwargs: Any) -> Any:
            with record_function(_MARK + part):
                return function(*args, **kwargs)

        return inside

    with ExitStack() as stack:
        for part, owner, name in _PARTS:
            held = vars(owner)[name]
            if hasattr(held, "func"):  # a cached property
                stack.enter_context(patch.object(held, "func", named(part, held.func)))
            else:
                stack.enter_context(patch.object(owner, name, named(part, held)))
        yield


def measure_profile(setting: Setting) -> Iterator[Figures]:
    """Time and profile some steps of a training; give figures of a step, in all and by part."""
    device = setting.device
    world = World(rank=0, size=1, device=device)
    run = start_run(setting.config(), world=world)
    batches = train._batches(run.stream, begin=0, end=run.total_steps)
    kept = list(islice(batches, setting.warmup + setting.steps))
    run.stream.close()

    def steps(first: int, last: int) -> float:
        """Do steps; give the milliseconds of one."""
        wait_for(device)
        start = time.perf_counter()
        for epoch, batch in kept[first:last]:
            train._compute_gradients(run, batch, epoch=epoch, world=world)
            run.optimizer.step()
        wait_for(device)
        return 1e3 * (time.perf_counter() - start) / (last - first)

    first, last = setting.warmup, len(kept)
    steps(0, first)
    yield {"batch_size": setting.batch_size, "step_ms": steps(first, last)}
    on_gpu = device.type == "cuda"
    if on_gpu:
        yield {"lines_that_wait": _lines_that_wait(lambda: steps(first, first + 1))}
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]
    with named_parts(), profile(activities=activities) as profiler:
        wall_ms = steps(first, last)
    parts, operations = _by_part(profiler.events(), steps=setting.steps)
    totals = {name: sum(part[name] for part in parts.values()) for name in _COLUMNS}
    order = "device_ms" if on_gpu else "host_ms"
    largest = sorted(operations.items(), key=lambda item: -item[1][order])[:_LISTED]
    yield {
        "step_ms_while_profiled": wall_ms,
        "python_ms_while_profiled": wall_ms - totals["host_ms"],
        "parts": dict(sorted(parts.items(), key=lambda item: -item[1][order])) | {"all": totals},
        "operations": dict(largest),
    }


def _lines_that_wait(step: Callable[[], object]) -> dict[str, int]:
    """Count at which lines of a step the host waits for the device."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        torch.cuda.set_sync_debug_mode("warn")
        try:
            step()
        finally:
            torch.cuda.set_sync_debug_mode("default")
    return dict(Counter(f"{w.filename}:{w.lineno}" for w in caught))


def _by_part(
    events: Any, *, steps: int
) -> tuple[dict[str, dict[str, float]], dict[str, dict[str, float]]]:
    """Sum the columns over the events of each part, and of each operation in it, for one step."""
    host = [e for e in events if str(e.device_type).endswith("CPU")]
    forward: dict[int, str] = {}
    for event in host:
        if event.sequence_nr >= 0 and "evaluate_function" not in event.name:
            part = _range_around(event)
            if part is not None:
                forward[event.sequence_nr] = part
    parts: dict[str, Counter[str]] = {}
    operations: dict[str, Counter[str]] = {}
    for event in host:
        part = _range_around(event) or _backward_of(event, forward) or _REST
        row = {
            "device_ms": event.self_device_time_total / 1e3,
            "host_ms": event.self_cpu_time_total / 1e3,
            "operations": float(event.name.startswith("aten::")),
            "launches": float(event.name.startswith(_LAUNCHES)),
            "waits": float(event.name in _WAITS),
        }
        for table, name in ((parts, part), (operations, f"{part}: {event.name}")):
            sums = table.setdefault(name, Counter())
            for column, value in row.items():
                sums[column] += value / steps
    return tuple(  # type: ignore[return-value]
        {name: {c: sums[c] for c in _COLUMNS} for name, sums in table.items()}
        for table in (parts, operations)
    )


def _range_around(event: Any) -> str | None:
    """Name the innermost part whose range holds the event."""
    while event is not None:
        if event.name.startswith(_MARK):
            return str(event.name).removeprefix(_MARK)
        if event.name.startswith("Optimizer.step"):
            return "optimizer"
        event = event.cpu_parent
    return None


def _backward_of(event: Any, forward: dict[int, str]) -> str | None:
    """Name the part whose gradient the event computes."""
    while event is not None:
        if "evaluate_function" in event.name and event.sequence_nr in forward:
            return forward[event.sequence_nr]
        event = event.cpu_parent
    return None
