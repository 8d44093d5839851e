"""What `bench_gpu` measures, a function a part; each gives its figures by name."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Final

import torch

from clr_train.batch import ParticleBatch
from clr_train.config import TrainConfig
from clr_train.runtime.processes import World
from clr_train.runtime.signals import StopRequest
from clr_train.stream.stream import ParticleStream
from clr_train.train import _train
from clr_train.training.recorder import NullRecorder
from clr_train.training.resume import start_run
from clr_train.views.make import make_views
from pilarnet_convert.shards.format import SPLITS, attributes_checksum
from pilarnet_convert.shards.reader import open_shards

__all__ = ["SIZES", "Figures", "Setting", "measure_card", "measure_stream", "measure_training"]

Figures = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What is measured, and how much of it."""

    device: torch.device
    shards: Path
    #: Folder for copies of the shards.
    copies: Path
    model: str
    batch_size: int
    #: Particles of an epoch: shards are copied until there are as many.
    particles: int
    #: Seconds that a measurement takes after its warm-up, at most.
    seconds: float
    warmup: int
    #: Channels of the depth-wise convolutions, a stage each.
    channels: tuple[int, ...]
    #: How often a kernel is timed.
    repeat: int
    copied_bytes: int
    #: Steps that are profiled.
    steps: int

    def config(self, **options: Any) -> TrainConfig:
        """Make the options of a run over an epoch of that many particles."""
        train = open_shards(self.shards).splits["train"]
        times = -(-self.particles // sum(shard.num_particles for shard in train))
        return TrainConfig(
            shards=[self.shards, *(self._copy(number) for number in range(1, times))],
            model=self.model,
            batch_size=self.batch_size,
            epochs=1,
            max_steps=self.particles // self.batch_size,
            precision="bf16",
            **options,
        )

    def _copy(self, number: int) -> Path:
        """Make a set of the same particles, whose files are links, as no set is read twice."""
        folder = self.copies / str(number)
        folder.mkdir(parents=True, exist_ok=True)
        root = json.loads((self.shards / "zarr.json").read_bytes())
        attributes = root["attributes"] | {"copy": number}
        root["attributes"] = attributes | {"checksum": attributes_checksum(attributes)}
        (folder / "zarr.json").write_text(json.dumps(root))
        for split in SPLITS:
            if (self.shards / split).exists() and not (folder / split).is_symlink():
                (folder / split).symlink_to((self.shards / split).resolve())
        return folder


#: By the kind of device.
SIZES: Final[Mapping[str, Mapping[str, Any]]] = {
    "cuda": {
        "model": "small", "batch_size": 512, "particles": 942_693, "seconds": 55.0, "warmup": 30,
        "channels": (96, 192, 384, 768), "repeat": 100, "copied_bytes": 1 << 31, "steps": 5,
    },
    "cpu": {
        "model": "zepto", "batch_size": 4, "particles": 1_000, "seconds": 0.2, "warmup": 1,
        "channels": (4,), "repeat": 2, "copied_bytes": 1 << 24, "steps": 1,
    },
}  # fmt: skip


def wait_for(device: torch.device) -> None:
    """Wait until the device has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def median_seconds(work: Callable[[], object], setting: Setting) -> float:
    """Time a function on its device: the median of many calls after a few to warm up."""
    for _ in range(3):
        work()
    if setting.device.type != "cuda":
        return statistics.median(_seconds(work) for _ in range(setting.repeat))
    marks = [torch.cuda.Event(enable_timing=True) for _ in range(setting.repeat + 1)]
    marks[0].record()
    for mark in marks[1:]:
        work()
        mark.record()
    wait_for(setting.device)
    return statistics.median(a.elapsed_time(b) for a, b in pairwise(marks)) / 1e3


def _seconds(work: Callable[[], object]) -> float:
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def measure_card(setting: Setting) -> Figures:
    """Name the device, and measure how fast it copies its own memory."""
    device, count = setting.device, setting.copied_bytes
    source = torch.ones(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    seconds = median_seconds(lambda: target.copy_(source), setting)
    on_gpu = device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name(device) if on_gpu else "CPU",
        "torch": torch.__version__,
        "copy_gb_per_second": 2 * count / seconds / 1e9,
    }


def measure_stream(setting: Setting) -> Figures:
    """Time the stream alone, into page-locked memory for a GPU; then copies and views alone."""
    device = setting.device
    config = setting.config()
    stream = ParticleStream(config, device=device)
    batches = stream.batches(0)
    first = next(batches)
    alone = _particles_per_second(batches, setting, lambda batch: batch)
    stream.close()

    def see(batch: ParticleBatch) -> object:
        there = batch.to(device, non_blocking=True)
        return make_views(there, seed=0, epoch=0, view=0, count=2, config=config)

    kept = list(islice(first.split(setting.batch_size), 1)) * 100_000
    views = _particles_per_second(iter(kept), setting, see)
    return {
        "voxels_per_particle": first.num_voxels / first.num_particles,
        "pinned": first.xyz.is_pinned() if device.type == "cuda" else False,
        "stream_particles_per_second": alone,
        "views_particles_per_second": views,
    }


def _particles_per_second(
    batches: Iterable[ParticleBatch], setting: Setting, work: Callable[[ParticleBatch], object]
) -> float:
    """Work on batches for a third of the time at most; give the particles a second."""
    batches = iter(batches)
    for batch in islice(batches, setting.warmup):
        work(batch)
    wait_for(setting.device)
    start, seen = time.perf_counter(), 0
    for batch in batches:
        work(batch)
        seen += batch.num_particles
        if time.perf_counter() - start > setting.seconds / 3:
            break
    wait_for(setting.device)
    return seen / (time.perf_counter() - start)


@dataclass
class Clock(NullRecorder):
    """Keeps the figures of each step, and ends the run when its time is over."""

    stop: StopRequest
    setting: Setting
    rows: list[dict[str, float]] = field(default_factory=list)
    begun: float = 0.0

    def record(self, figures: Mapping[str, float], *, stopping: bool) -> None:  # noqa: ARG002
        """Take the figures of a step."""
        self.rows.append(dict(figures))
        if len(self.rows) == self.setting.warmup:
            self.begun = time.perf_counter()
        elif self.begun and time.perf_counter() - self.begun > self.setting.seconds:
            self.stop.signal = 1


def measure_training(setting: Setting) -> Figures:
    """Train from shards by the loop of ``clr-train``, until the epoch or the time is over."""
    device = setting.device
    on_gpu = device.type == "cuda"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats(device)
    world = World(rank=0, size=1, device=device)
    run = start_run(setting.config(), world=world)
    stop = StopRequest()
    clock = Clock(stop, setting)
    start = time.perf_counter()
    _train(run, world=world, stop=stop, recorder=clock)
    wall = time.perf_counter() - start
    run.stream.close()
    rows = clock.rows[setting.warmup :]
    seconds = [row["particles"] / row["particles_per_second"] for row in rows]
    waited = sum(row["data_wait_share"] * s for row, s in zip(rows, seconds, strict=True))
    rate = sum(row["particles"] for row in rows) / sum(seconds)
    whole = run.progress.step == run.total_steps
    return {
        "batch_size": setting.batch_size,
        "steps": len(clock.rows),
        "particles_per_second": rate,
        "median_step_ms": 1e3 * statistics.median(seconds),
        "slowest_step_ms": 1e3 * max(seconds),
        "data_wait_share": waited / sum(seconds),
        "epoch_seconds": wall if whole else setting.particles / rate,
        "epoch_is": "measured, warm-up included" if whole else "from the rate",
        "peak_gb": torch.cuda.max_memory_allocated(device) / 1e9 if on_gpu else None,
        "reserved_gb": torch.cuda.max_memory_reserved(device) / 1e9 if on_gpu else None,
        "first_loss": clock.rows[0]["loss"],
        "last_loss": clock.rows[-1]["loss"],
    }
