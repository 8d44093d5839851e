"""A training step with the torch engine beside the same step with MinkowskiEngine.

Both run the same network from the same weights on the same two views of the same particles:
forward, backward and an optimizer step, in float32. They take turns, so that what else the machine
does meets both; printed are the medians and the ratio within a turn.

Run ``python -m tests.benchmarks.bench_engines [SHARDS]``; without shards, it converts the sample
that comes with the project. ``--cuda`` measures on a GPU, where the installed MinkowskiEngine has
CUDA, and the torch engine in bfloat16 too.
"""

from __future__ import annotations

import argparse
import copy
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch

from clr_train.batch import ParticleBatch, SiteBatch
from clr_train.loss import contrastive_loss
from clr_train.network.encoder import ContrastiveModel
from clr_train.network.models import MODELS
from clr_train.sparse import Engine, get_engine
from clr_train.views.config import ViewConfig
from clr_train.views.make import make_views
from pilarnet_convert.conversion import convert
from pilarnet_convert.errors import MissingDependencyError
from pilarnet_convert.shards.reader import open_shards
from tests.sample import SAMPLE


def read_views(shards: Path, *, num_particles: int, device: torch.device) -> SiteBatch:
    """Two views of the first particles of the training split, repeated where it has fewer."""
    shard = open_shards(shards).splits["train"][0]
    columns = shard.read(["x", "y", "z", "energy", "offset", "label"], 0, num_particles)
    found = len(columns["label"])
    once = ParticleBatch(
        xyz=torch.from_numpy(np.stack([columns[a] for a in "xyz"], axis=1).astype(np.int32)),
        energy=torch.from_numpy(columns["energy"]),
        offset=torch.from_numpy(columns["offset"]),
        label=torch.from_numpy(columns["label"].astype(np.int64)),
        particle=torch.arange(found),
    )
    pair = make_views(once.to(device), seed=0, epoch=0, view=0, count=2, config=ViewConfig())
    print(f"two views of {found} particles: {pair.num_sites} sites")
    return pair


def make_step(
    model: ContrastiveModel, sites: SiteBatch, *, engine: Engine, bf16: bool = False
) -> Callable[[], float]:
    """Return a function that trains one step and returns the loss."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-4)
    half = sites.num_particles // 2
    kind = sites.device.type

    def step() -> float:
        optimizer.zero_grad()
        with torch.autocast(kind, dtype=torch.bfloat16, enabled=bf16):
            _, projection = model(sites, engine, torch.arange(2 * half, device=sites.device))
        loss = contrastive_loss(projection[:half], projection[half:], temperature=0.1)
        loss.backward()
        optimizer.step()
        return float(loss.detach())

    return step


def measure(steps: dict[str, Callable[[], float]], *, repeat: int) -> dict[str, list[float]]:
    """Run the steps in turn; give the seconds of each."""
    for name, step in steps.items():
        print(f"{name}: first loss {step():.5f}")
    seconds: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(repeat):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            seconds[name].append(time.perf_counter() - start)
    return seconds


def main(arguments: Sequence[str] | None = None) -> None:
    """Time the engines in turn, and print the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", nargs="?", type=Path)
    parser.add_argument("--model", choices=MODELS, default="atto")
    parser.add_argument("--particles", type=int, default=256)
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--cuda", action="store_true")
    args = parser.parse_args(arguments)
    torch.set_num_threads(args.threads)
    device = torch.device("cuda" if args.cuda else "cpu")
    with tempfile.TemporaryDirectory() as scratch:
        shards = args.shards or Path(scratch) / "shards"
        if args.shards is None:
            convert([SAMPLE], shards)
        sites = read_views(shards, num_particles=args.particles, device=device)
    torch.manual_seed(0)
    model = ContrastiveModel(MODELS[args.model]).to(device)
    steps = {"torch": make_step(copy.deepcopy(model), sites, engine=get_engine("torch", device))}
    if args.cuda:
        steps["torch bf16"] = make_step(
            copy.deepcopy(model), sites, engine=get_engine("torch", device), bf16=True
        )
    try:
        engine = get_engine("minkowski", device)
        steps["minkowski"] = make_step(copy.deepcopy(model), sites, engine=engine)
    except MissingDependencyError as error:
        print(error)
    seconds = measure(steps, repeat=args.repeat)
    for name, each in seconds.items():
        ratios = [slow / fast for slow, fast in zip(each, seconds["torch"], strict=True)]
        print(
            f"{name:12s} {statistics.median(each):8.3f} s a step, "
            f"{statistics.median(ratios):6.2f} times torch's "
            f"({min(ratios):.2f} to {max(ratios):.2f} over {args.repeat} turns)"
        )


if __name__ == "__main__":
    main()
