"""One process or many: who takes part, and the few things they do together.

Processes are started by ``torchrun``, which sets RANK, WORLD_SIZE and LOCAL_RANK. The loss is
that of the joined batch (see `clr_train.loss`), so the gradients of the processes are summed;
DistributedDataParallel would average them, and wants its forward pass called once a step, which
cached embeddings do not do.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TypeVar

import torch
import torch.distributed as dist
from torch import nn

from pilarnet_convert.options import OptionError

__all__ = ["World", "join_world", "pick_device"]

T = TypeVar("T")


@dataclass(frozen=True, kw_only=True)
class World:
    """One process among all: its rank, their number, and the device it computes on."""

    rank: int
    size: int
    device: torch.device

    @property
    def is_main(self) -> bool:
        """Whether this process writes the run's files and talks to the user."""
        return self.rank == 0

    def sum_gradients(self, parameters: Iterable[nn.Parameter]) -> None:
        """Replace each gradient by its sum over all processes."""
        if self.size == 1:
            return
        gradients = [p.grad for p in parameters if p.grad is not None]
        flat = torch.cat([gradient.flatten() for gradient in gradients])
        dist.all_reduce(flat)
        pieces = torch.split(flat, [gradient.numel() for gradient in gradients])
        for gradient, piece in zip(gradients, pieces, strict=True):
            gradient.copy_(piece.view_as(gradient))

    def share(self, value: T) -> T:
        """Give every process the first one's value: numbers, strings, tensors, or their like."""
        if self.size == 1:
            return value
        box = [value]
        dist.broadcast_object_list(box, src=0, device=self.device)
        return box[0]

    def largest(self, value: int) -> int:
        """Return the largest of the processes' values, on all of them."""
        if self.size == 1:
            return value
        shared = torch.tensor([value], device=self.device)
        dist.all_reduce(shared, op=dist.ReduceOp.MAX)
        return int(shared)


def pick_device(name: str, *, local_rank: int = 0) -> torch.device:
    """Find the device of a process.

    Parameters
    ----------
    name : str
        ``auto``, ``cpu``, ``cuda`` or ``cuda:N``.
    local_rank : int
        Position of this process on its machine; picks the GPU of ``auto`` and ``cuda``.

    Returns
    -------
    torch.device

    Raises
    ------
    OptionError
        A name that is no device, or a GPU that is not there.
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
    if index >= count:
        raise OptionError(
            "no such GPU" if count else "CUDA is not available",
            field="--device",
            expected=f"cuda:0 to cuda:{count - 1}" if count else None,
            found=f"cuda:{index}",
            advice="use --device cpu, or install a torch built for CUDA and its driver"
            if not count
            else "start at most one process a GPU",
        )
    return torch.device("cuda", index)


@contextmanager
def join_world(device: str) -> Iterator[World]:
    """Take part in the processes that ``torchrun`` started, or be alone; leave at the end.

    Parameters
    ----------
    device : str
        As for `pick_device`.

    Yields
    ------
    World
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    picked = pick_device(device, local_rank=int(os.environ.get("LOCAL_RANK", "0")))
    if picked.type == "cuda":
        torch.cuda.set_device(picked)
    if size == 1:
        yield World(rank=0, size=1, device=picked)
        return
    # The first process evaluates alone, and the others wait for it.
    dist.init_process_group("nccl" if picked.type == "cuda" else "gloo", timeout=timedelta(hours=2))
    try:
        yield World(rank=dist.get_rank(), size=size, device=picked)
    finally:
        dist.destroy_process_group()
