"""The stream with views against a plain PyTorch dataset of one file a particle.

Both give pairs of augmented, requantised voxel batches, with two worker processes each and the
same augmentations. The plain one loads ``.npz`` files and augments particles one at a time with
numpy, in its workers; ours reads blocks in its workers and augments whole batches in the process
that asks. They take turns, so that what else the machine does meets both.

Run ``python -m tests.benchmarks.bench_stream [SHARDS]``; without shards, it converts the sample
that comes with the project.
"""

from __future__ import annotations

import argparse
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset

from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from clr_train.views.config import ViewConfig
from clr_train.views.energy import transform_energy
from clr_train.views.make import make_views
from pilarnet_convert.conversion import convert
from pilarnet_convert.shards.reader import open_shards
from tests.sample import SAMPLE

WORKERS = 2

STRENGTH = ViewConfig()

Sites = tuple[NDArray[np.int32], NDArray[np.float32]]


class NpzParticles(Dataset[tuple[Sites, Sites]]):
    """One particle a file, one pair of views a particle, as one would write it first."""

    def __init__(self, files: Sequence[Path]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Sites, Sites]:
        with np.load(self.files[index]) as stored:
            xyz, energy = stored["xyz"], stored["energy"]
        generator = np.random.default_rng()
        return augment(xyz, energy, generator), augment(xyz, energy, generator)


def augment(
    xyz: NDArray[np.int32], energy: NDArray[np.float32], generator: np.random.Generator
) -> Sites:
    """Apply two of the four default augmentations to one particle; put it on the grid again."""
    position = xyz.astype(np.float32)
    for choice in np.sort(generator.permutation(4)[:2]):
        if choice == 0:
            energy = energy * np.float32(1 - STRENGTH.shift_energy * generator.random())
        elif choice == 1:
            keep = generator.random(len(energy)) >= STRENGTH.drop_probability
            keep[generator.integers(len(keep))] |= not keep.any()
            position, energy = position[keep], energy[keep]
        elif choice == 2:
            x, y, z, w = (q := generator.normal(size=4)) / np.linalg.norm(q)
            turn = np.array(
                [
                    [1 - 2 * (y * y + z * z), 2 * (x * y - z * w), 2 * (x * z + y * w)],
                    [2 * (x * y + z * w), 1 - 2 * (x * x + z * z), 2 * (y * z - x * w)],
                    [2 * (x * z - y * w), 2 * (y * z + x * w), 1 - 2 * (x * x + y * y)],
                ],
                np.float32,
            )
            centre = position.mean(axis=0)
            position = (position - centre) @ turn.T + centre
        else:
            position = position + generator.random(3, np.float32) * STRENGTH.translate_voxels
    sites, group = np.unique(np.floor(position + 0.5).astype(np.int32), axis=0, return_inverse=True)
    return sites, np.bincount(group.ravel(), energy, len(sites)).astype(np.float32)


def collate(pairs: Sequence[tuple[Sites, Sites]]) -> list[tuple[torch.Tensor, ...]]:
    """Join the views of particles into two batches."""
    batches: list[tuple[torch.Tensor, ...]] = []
    for clouds in zip(*pairs, strict=True):
        sizes = torch.tensor([len(energy) for _, energy in clouds])
        energy = torch.from_numpy(np.concatenate([e for _, e in clouds]))
        batches.append(
            (
                torch.from_numpy(np.concatenate([xyz for xyz, _ in clouds])),
                torch.repeat_interleave(sizes),
                transform_energy(energy, name="log"),
            )
        )
    return batches


def write_npz(shards: Path, folder: Path, *, most: int) -> list[Path]:
    """Write particles of the training split as files of their own."""
    files: list[Path] = []
    for shard in open_shards(shards).splits["train"]:
        columns = shard.read(("x", "y", "z", "energy"))
        xyz = np.stack([columns[axis] for axis in "xyz"], axis=1).astype(np.int32)
        for a, b in zip(shard.offset[:-1], shard.offset[1:], strict=True):
            files.append(folder / f"{len(files):07d}.npz")
            np.savez(files[-1], xyz=xyz[a:b], energy=columns["energy"][a:b])
            if len(files) == most:
                return files
    return files


def rate(epoch: Callable[[int], int], number: int) -> float:
    """Return the particles per second of an epoch, each with its two views."""
    start = time.perf_counter()
    particles = epoch(number)
    return particles / (time.perf_counter() - start)


def main() -> None:
    """Compare the two, a turn each, and print the rates and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("shards", nargs="?", type=Path, help="shards to read")
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--most-files", type=int, default=2048, help="of one particle each")
    options = parser.parse_args()
    # As in the workers: threads of the views would fight the workers for the cores.
    torch.set_num_threads(1)

    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        shards = options.shards
        if shards is None:
            shards = folder / "shards"
            convert(SAMPLE, shards)
        (folder / "npz").mkdir()
        files = write_npz(shards, folder / "npz", most=options.most_files)
        batch_size = min(options.batch_size, len(files))

        config = ViewConfig()
        stream = ParticleStream(StreamConfig(shards=shards, batch_size=batch_size, workers=WORKERS))
        loader = DataLoader(
            NpzParticles(files),
            batch_size=batch_size,
            shuffle=True,
            drop_last=True,
            num_workers=WORKERS,
            persistent_workers=True,
            collate_fn=collate,
            multiprocessing_context="spawn",
        )

        def ours(epoch: int) -> int:
            seen = 0
            for batch in stream.batches(epoch):
                make_views(batch, seed=0, epoch=epoch, view=0, count=2, config=config)
                seen += batch.num_particles
            return seen

        def plain(_epoch: int) -> int:
            return sum(batch_size for _pair in loader)  # incomplete batches are dropped

        ours(0), plain(0)  # starts the workers, and fills the caches of the file system
        rates: dict[str, list[float]] = {"stream and views": [], "one .npz a particle": []}
        for number in range(1, options.rounds + 1):
            rates["stream and views"].append(rate(ours, number))
            rates["one .npz a particle"].append(rate(plain, number))
        stream.close()

    print(f"{stream.num_particles} particles, {len(files)} as files of their own;", end=" ")
    print(f"batches of {batch_size}, {WORKERS} workers;", end=" ")
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads of torch")
    medians = {name: statistics.median(values) for name, values in rates.items()}
    for name, values in rates.items():
        spread = f"{min(values):,.0f} to {max(values):,.0f}"
        print(f"{name:20} {medians[name]:10,.0f} particles/s, two views each ({spread})")
    print(f"ratio {medians['stream and views'] / medians['one .npz a particle']:.1f}")


if __name__ == "__main__":
    main()
