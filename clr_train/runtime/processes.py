"""The processes of a run, their devices, and what they do together.

``torchrun`` starts the processes and sets RANK, WORLD_SIZE and LOCAL_RANK. The loss is that of the
joined batch (see `clr_train.loss`), so the gradients of the processes are summed.
DistributedDataParallel is not used: it averages them, and needs exactly one forward pass a step,
but cached embeddings take two.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.rendezvous import rendezvous

from pilarnet_convert.errors import PilarnetError, brief
from pilarnet_convert.options import OptionError

__all__ = [
    "World",
    "all_gather_rows",
    "all_gather_sizes",
    "join_world",
    "pick_device",
    "sum_over_ranks",
]

T = TypeVar("T")

#: What a launcher sets in the environment of each process.
_NUMBERS: Final = ("RANK", "WORLD_SIZE", "LOCAL_RANK")
_MASTER: Final = ("MASTER_ADDR", "MASTER_PORT")
#: How long to try to reach the store of the launcher, which no longer exists if the launcher was
#: killed.
_JOINING: Final = timedelta(minutes=5)
#: How long processes wait for each other: the first evaluates alone, and the others wait.
_WAITING: Final = timedelta(hours=2)


@dataclass(frozen=True, kw_only=True)
class World:
    """The rank of this process, the number of processes, and the device of this one."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the files of the run and prints messages."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        _run_collective(dist.all_reduce, flat)
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def share(self, value: T) -> T:
        """Return the value of the first process on all of them: numbers, strings, tensors, ..."""
        if self.size == 1:
            return value
        box = [value]
        _run_collective(dist.broadcast_object_list, box, src=0, device=self.device)
        return box[0]

    def largest(self, value: int) -> int:
        """Return the largest value of all processes on all of them."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], device=self.device)
        _run_collective(dist.all_reduce, shared, op=dist.ReduceOp.MAX)
        return int(shared)


def pick_device(name: str, *, local_rank: int = 0) -> torch.device:
    """Find a device by its name, ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.

    `local_rank`, the number of this process on its machine, is the GPU of ``auto`` and ``cuda``. An
    OptionError is raised if the name is not a device, or the GPU does not exist.
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
            advice="start at most one process per GPU; if each process sees only its own GPU, use "
            "--device cuda:0",
        )
    if device.index is not None and local_rank and count > 1:
        raise OptionError(
            "one GPU for several processes",
            field="--device",
            expected="cuda, of which each process takes its own GPU",
            found=name,
        )
    return torch.device("cuda", index)


def _launched() -> tuple[int, int]:
    """Read the number of processes and the number of this one on its machine.

    A PilarnetError is raised if a launcher set some of what is needed and not all.
    """
    size, local_rank = os.environ.get("WORLD_SIZE", "1"), os.environ.get("LOCAL_RANK", "0")
    wrong = [f"{name}={os.environ.get(name, '')}" for name in _NUMBERS if not _is_number(name)]
    if size != "1":
        wrong += [f"{name} is not set" for name in (*_NUMBERS, *_MASTER) if name not in os.environ]
    if wrong:
        raise PilarnetError(
            "the processes of the run cannot be joined",
            expected=f"{', '.join(_NUMBERS)}, numbers, and {' and '.join(_MASTER)}",
            found=", ".join(wrong),
            advice="start them with torchrun, or unset WORLD_SIZE",
        )
    return int(size), int(local_rank)


def _is_number(name: str) -> bool:
    return os.environ.get(name, "0").isdecimal()


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Join the processes that ``torchrun`` started, if it did; leave them at the end."""
    size, local_rank = _launched()
    picked = pick_device(device, local_rank=local_rank)
    if picked.type == "cuda":
        torch.cuda.set_device(picked)
    if size == 1:
        yield World(rank=0, size=1, device=picked)
        return
    backend = "nccl" if picked.type == "cuda" else "gloo"
    try:
        store, rank, _ = next(rendezvous("env://", timeout=_JOINING))
        store.set_timeout(_WAITING)
        dist.init_process_group(backend, store=store, rank=rank, world_size=size, timeout=_WAITING)
    except dist.DistError as error:
        raise PilarnetError(
            "the processes of the run cannot be joined",
            found=brief(error),
            advice="see whether torchrun and all processes still run, and start the run again",
        ) from error
    failed = True
    try:
        yield World(rank=rank, size=size, device=picked)
        failed = False
    finally:
        # NCCL ends a group together: after an error this process would wait for the others, which
        # wait for it.
        if not (failed and backend == "nccl"):
            dist.destroy_process_group()


def _run_collective(operation: Callable[..., object], *arguments: Any, **options: Any) -> None:
    """Call an operation that all processes take part in.

    A PilarnetError is raised if another process has ended, or does not answer.
    """
    try:
        operation(*arguments, **options)
    except RuntimeError as error:  # of gloo; that of NCCL is a subclass
        raise PilarnetError(
            "another process of the run has ended or does not answer",
            found=brief(error),
            advice="see what it printed, and continue the run with --resume",
        ) from error


def all_gather_sizes(rows: Tensor) -> tuple[list[int], int]:
    """Return the number of rows of every rank, and the rank of this process."""
    if not dist.is_initialized():
        return [len(rows)], 0
    own = torch.tensor([len(rows)], device=rows.device)
    sizes = [torch.empty_like(own) for _ in range(dist.get_world_size())]
    _run_collective(dist.all_gather, sizes, own)
    return [int(size) for size in sizes], dist.get_rank()


def all_gather_rows(rows: Tensor, *, sizes: list[int]) -> Tensor:
    """Join the rows [n, ...] of all ranks, in the order of the ranks.

    The gradient of the rows is the sum of the gradients of all ranks. `sizes` are those that
    `all_gather_sizes` returns.
    """
    if len(sizes) == 1:
        return rows
    joined: Tensor = _AllGatherRows.apply(rows, sizes)  # type: ignore[no-untyped-call]
    return joined


def sum_over_ranks(value: Tensor) -> Tensor:
    """Sum a value over all ranks; each rank differentiates the sum by its own summand."""
    if not dist.is_initialized():
        return value
    total: Tensor = _SumOverRanks.apply(value)  # type: ignore[no-untyped-call]
    return total


class _AllGatherRows(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, rows: Tensor, sizes: list[int]) -> Tensor:
        ctx.sizes = sizes
        # Collectives need equal shapes: pad to the longest, cut afterwards.
        padded = rows.new_zeros((max(sizes), *rows.shape[1:]))
        padded[: len(rows)] = rows
        parts = [torch.empty_like(padded) for _ in sizes]
        _run_collective(dist.all_gather, parts, padded)
        return torch.cat([part[:size] for part, size in zip(parts, sizes, strict=True)])

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        gradient = gradients[0].clone(memory_format=torch.contiguous_format)
        _run_collective(dist.all_reduce, gradient)
        rank = dist.get_rank()
        start = sum(ctx.sizes[:rank])
        return gradient[start : start + ctx.sizes[rank]], None


class _SumOverRanks(torch.autograd.Function):
    @staticmethod
    def forward(_ctx: Any, value: Tensor) -> Tensor:
        total = value.clone()
        _run_collective(dist.all_reduce, total)
        return total

    @staticmethod
    def backward(_ctx: Any, *gradients: Tensor) -> Tensor:
        return gradients[0]
