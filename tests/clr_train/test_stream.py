"""The stream against the shards read whole, and what its batches must and must not depend on."""

from __future__ import annotations

import os
import pickle
import resource
import shutil
import subprocess
import sys
from collections.abc import Iterator
from itertools import chain
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from clr_train.batch import ParticleBatch
from clr_train.stream import loader
from clr_train.stream.config import StreamConfig
from clr_train.stream.reader import BatchArrays
from clr_train.stream.stream import ParticleStream
from pilarnet_convert.errors import PilarnetError, ShardError
from pilarnet_convert.shards.reader import open_shards
from tests.clr_train.batches import SHARD_SIZES, write_shards
from tests.writing import rewrite

NUM_TRAIN = sum(SHARD_SIZES["train"])


def open_small(
    shards: Path, *, rank: int = 0, world_size: int = 1, **options: object
) -> ParticleStream:
    """Open a stream with blocks and spans so small that the made-up shards have many of both."""
    config = StreamConfig(shards=shards, **({"batch_size": 32} | options))  # type: ignore[arg-type]
    return ParticleStream(
        config, rank=rank, world_size=world_size, block_particles=16, shuffle_particles=192
    )


def particles(batches: Iterator[ParticleBatch]) -> list[list[int]]:
    return [batch.particle.tolist() for batch in batches]


@pytest.fixture(scope="module")
def stored(shards: Path) -> list[tuple[list[list[int]], list[float], int]]:
    """Every training particle as zarr reads it: voxels, energies, label."""
    rows = []
    for shard in open_shards(shards).splits["train"]:
        columns = shard.read()
        xyz = np.stack([columns[axis] for axis in "xyz"], axis=1)
        for i, (a, b) in enumerate(zip(shard.offset[:-1], shard.offset[1:], strict=True)):
            row = xyz[a:b].tolist(), columns["energy"][a:b].tolist(), int(columns["label"][i])
            rows.append(row)
    return rows


def check(batch: ParticleBatch, stored: list[tuple[list[list[int]], list[float], int]]) -> None:
    for i, particle in enumerate(batch.particle.tolist()):
        rows = slice(int(batch.offset[i]), int(batch.offset[i + 1]))
        found = batch.xyz[rows].tolist(), batch.energy[rows].tolist(), int(batch.label[i])
        assert found == stored[particle]


def test_batches_hold_what_the_shards_hold(
    shards: Path, stored: list[tuple[list[list[int]], list[float], int]]
) -> None:
    stream = open_small(shards)
    for batch in stream.batches(0):
        check(batch, stored)


def test_seeking_gives_the_rest_of_the_epoch_and_reads_no_more(
    shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stream = open_small(shards)
    whole = particles(stream.batches(0))
    asked: list[int] = []
    read = stream._reader.read

    def noted(wanted: NDArray[np.int64]) -> BatchArrays:
        asked.extend(wanted.tolist())
        return read(wanted)

    monkeypatch.setattr(stream._reader, "read", noted)
    for start in (1, 3, 10, stream.num_batches):
        asked.clear()
        assert particles(stream.batches(0, start)) == whole[start:]
        assert asked == [p for batch in whole[start:] for p in batch]
    with pytest.raises(ValueError, match="start_batch"):
        next(stream.batches(0, stream.num_batches + 1))


def test_workers_change_nothing_and_leave_torchs_generator_alone(
    shards: Path, stored: list[tuple[list[list[int]], list[float], int]]
) -> None:
    alone = open_small(shards)
    shared = open_small(shards, workers=2)
    state = torch.get_rng_state()
    for epoch, start in ((0, 0), (1, 7)):
        expected = particles(alone.batches(epoch, start))
        found = list(shared.batches(epoch, start))
        assert [batch.particle.tolist() for batch in found] == expected
    for batch in found:
        check(batch, stored)
    # An iteration that was abandoned in the middle spoils nothing.
    assert next(shared.batches(2)).particle.tolist() == next(alone.batches(2)).particle.tolist()
    assert particles(shared.batches(3)) == particles(alone.batches(3))
    assert torch.equal(torch.get_rng_state(), state)
    shared.close()


@pytest.mark.parametrize("workers", [0, 1])
def test_a_second_iteration_and_closing_end_the_first(shards: Path, workers: int) -> None:
    stream = open_small(shards, workers=workers)
    whole = [particles(stream.batches(epoch)) for epoch in (0, 1)]
    first, second = stream.batches(0), stream.batches(1)
    assert next(first).particle.tolist() == whole[0][0]
    assert next(second).particle.tolist() == whole[1][0]
    assert list(first) == []
    assert particles(second) == whole[1][1:]
    third = stream.batches(1)
    next(third)
    stream.close()
    assert list(third) == []


def test_a_worker_needs_no_torch() -> None:
    script = "import sys, clr_train.stream.worker; print('torch' in sys.modules)"
    run = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert run.stdout == "False\n"


def _forbid_files() -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))


def test_workers_need_no_shared_memory_and_no_sockets(shards: Path, tmp_path: Path) -> None:
    # Shared memory is files of /dev/shm, which the limit keeps empty; a socket's path in TMPDIR
    # may have 107 bytes.
    script = (
        "import sys\n"
        "from clr_train import ParticleStream, StreamConfig\n"
        "stream = ParticleStream(StreamConfig(shards=sys.argv[1], batch_size=8, workers=2))\n"
        "print(sum(batch.num_particles for batch in stream.batches(0)))\n"
    )
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    run = subprocess.run(
        [sys.executable, "-c", script, str(shards)],
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2]), "TMPDIR": str(folder)},
        preexec_fn=_forbid_files,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{NUM_TRAIN // 8 * 8}\n", "")


@pytest.mark.parametrize("workers", [0, 1])
def test_shards_replaced_after_they_were_opened_are_refused(tmp_path: Path, workers: int) -> None:
    path = write_shards(tmp_path / "shards", {"train": (60, 60), "val": (), "test": ()})
    other = write_shards(tmp_path / "other", {"train": (60, 60), "val": (60,), "test": ()})
    rewrite(other, lambda arrays: arrays.update(energy=arrays["energy"] + 1))
    stream = open_small(path, workers=workers)
    shutil.rmtree(path)
    other.rename(path)
    with pytest.raises(ShardError, match="replaced" if workers else "missing or damaged"):
        list(stream.batches(0))
    stream.close()


@pytest.mark.parametrize("from_file", [True, False])
def test_a_script_needs_no_guard(shards: Path, tmp_path: Path, from_file: bool) -> None:
    script = (
        "import sys\n"
        "from clr_train import ParticleStream, StreamConfig\n"
        "stream = ParticleStream(StreamConfig(shards=sys.argv[1], batch_size=8, workers=2))\n"
        "print([p for batch in stream.batches(0) for p in batch.particle.tolist()])\n"
    )
    (tmp_path / "script.py").write_text(script)
    run = subprocess.run(
        [sys.executable, str(tmp_path / "script.py") if from_file else "-", str(shards)],
        input=None if from_file else script,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        timeout=120,
    )
    stream = ParticleStream(StreamConfig(shards=shards, batch_size=8))
    expected = [p for batch in particles(stream.batches(0)) for p in batch]
    assert (run.returncode, run.stdout, run.stderr) == (0, f"{expected}\n", "")


def test_a_vanished_worker_is_one_clear_line(shards: Path) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.clr_train.vanishing", str(shards)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    lines = run.stdout.splitlines()
    assert len(lines) == 2
    for line in lines:
        assert "found SIGKILL" in line
        assert "--workers" in line


def test_sequential_gives_all_particles_in_order(
    shards: Path, stored: list[tuple[list[list[int]], list[float], int]]
) -> None:
    stream = open_small(shards, batch_size=4, rank=1, world_size=2)
    for size in (50, 96, 1000):
        batches = list(stream.sequential(size))
        assert [*chain(*particles(iter(batches)))] == [*range(NUM_TRAIN)]
        assert {b.num_particles for b in batches[:-1]} <= {size}
        check(batches[-1], stored)


def test_a_sample_is_of_the_whole_split_and_always_the_same(
    shards: Path, stored: list[tuple[list[list[int]], list[float], int]]
) -> None:
    stream = open_small(shards, min_voxels=5)
    fitting = [i for i, row in enumerate(stored) if len(row[1]) >= 5]
    sample = stream.sample(200)
    check(sample, stored)
    drawn = sample.particle.tolist()
    assert len(set(drawn)) == 200
    assert set(drawn) <= set(fitting)
    # Each quarter of the split gives, within 5 standard deviations, a quarter of the sample.
    quarters = np.histogram(drawn, bins=4, range=(0, NUM_TRAIN))[0]
    assert np.all(np.abs(quarters - 50) < 31)
    assert drawn != sorted(drawn)
    assert open_small(shards, min_voxels=5).sample(200).particle.tolist() == drawn
    assert open_small(shards, min_voxels=5, seed=1).sample(200).particle.tolist() != drawn
    assert sorted(stream.sample(10_000).particle.tolist()) == fitting


def test_a_split_smaller_than_a_batch_can_be_evaluated(shards: Path) -> None:
    stream = open_small(shards, split="val", batch_size=512)
    assert [b.num_particles for b in stream.sequential(64)] == [64, 26]
    assert [b.num_particles for b in stream.batches(0)] == [90]


# --- what is cut


def test_filters_cut_and_count(
    shards: Path, stored: list[tuple[list[list[int]], list[float], int]]
) -> None:
    sizes = np.array([len(row[1]) for row in stored])
    labels = np.array([row[2] for row in stored])
    stream = open_small(
        shards,
        classes=("proton", "pion"),
        min_voxels=10,
        max_voxels=40,
        voxel_budget=35,
        batch_size=1,
    )
    kept = np.isin(labels, [1, 4]) & (sizes >= 10) & (sizes <= 35)
    seen = [*chain(*particles(stream.sequential(10_000)))]
    assert seen == np.flatnonzero(kept).tolist()
    summary = stream.summary
    chosen = np.isin(labels, [1, 4])
    assert summary.removed == {
        "classes": int((~chosen).sum()),
        "min_voxels": int((chosen & (sizes < 10)).sum()),
        "max_voxels": int((chosen & (sizes > 40)).sum()),
        "voxel_budget": int((chosen & (sizes > 35) & (sizes <= 40)).sum()),
    }
    assert summary.kept + sum(summary.removed.values()) == summary.total == NUM_TRAIN
    said = "\n".join(summary.lines())
    assert f"{summary.removed['classes']} cut: not of --classes" in said
    assert f"{summary.removed['voxel_budget']} cut: larger alone than --voxel-budget" in said


def test_a_voxel_budget_is_met_by_what_is_read(shards: Path) -> None:
    stream = open_small(shards, voxel_budget=600)
    batches = list(stream.batches(0))
    assert all(0 < batch.num_voxels <= 600 for batch in batches)
    kept = sum(batch.num_particles for batch in batches)
    assert 0 < stream.summary.over_budget == 32 * len(batches) - kept
    assert all(batch.num_voxels <= 600 for batch in stream.sequential(64))


def test_an_interrupt_between_the_parts_of_an_answer(
    shards: Path,
    stored: list[tuple[list[list[int]], list[float], int]],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rest of the answer is not read as the next one."""

    def interrupted(connection: Connection) -> None:
        connection.recv()
        raise KeyboardInterrupt

    stream = open_small(shards, workers=1)
    with monkeypatch.context() as patch:
        patch.setattr(loader, "receive", interrupted)
        with pytest.raises(KeyboardInterrupt):
            next(stream.batches(0))
    batches = list(stream.batches(0))
    assert particles(batches) == particles(open_small(shards).batches(0))
    for batch in batches:
        check(batch, stored)
    stream.close()


# --- bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"classes": ("kaon",)}, "--classes.*electron, proton, gamma, muon, pion.*kaon"),
        ({"split": "training"}, "--split.*train, val, test.*training"),
        ({"split": "test"}, "test: no particles in the split"),
        ({"min_voxels": 1000}, "no particle passes the filters.*605 cut: fewer voxels"),
        ({"min_voxels": 10, "max_voxels": 9}, "--max-voxels.*at least --min-voxels 10"),
        ({"batch_size": 0}, "--batch-size"),
        ({"workers": -1}, "--workers"),
        ({"voxel_budget": 0}, "--voxel-budget"),
    ],
)
def test_wrong_options_are_one_clear_line(
    shards: Path, options: dict[str, object], said: str
) -> None:
    with pytest.raises(PilarnetError, match=said) as caught:
        open_small(shards, **options)
    assert "\n" not in str(caught.value)


def test_a_batch_that_ranks_cannot_share_is_refused(shards: Path) -> None:
    with pytest.raises(PilarnetError, match="multiple of 3"):
        open_small(shards, rank=0, world_size=3)


def test_a_batch_of_more_particles_than_balance_is_cut(shards: Path) -> None:
    stream = open_small(shards, balanced=True, batch_size=500)
    (batch,) = stream.batches(0)
    counts = batch.label.bincount()
    assert batch.num_particles == stream.batch_size < 500
    assert len(counts[counts > 0].unique()) == 1


def test_sizes_of_nothing_are_refused(shards: Path) -> None:
    stream = open_small(shards)
    with pytest.raises(ValueError, match="batch_size: expected 1 or more, found 0"):
        next(stream.sequential(0))
    with pytest.raises(ValueError, match="most: expected 1 or more, found 0"):
        stream.sample(0)


def test_a_set_named_twice_is_refused(shards: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(shards)
    message = r"link: the same set of shards twice \(found the contents of .*; name each set once"
    with pytest.raises(ShardError, match=message):
        open_shards([shards, link])


def test_no_shards_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ShardError, match="no such folder"):
        open_small(tmp_path / "nowhere")


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_shard_is_named(tmp_path: Path, workers: int) -> None:
    path = write_shards(tmp_path / "shards", {"train": (60, 60), "val": (), "test": ()})
    energy = path / "train" / "00001" / "energy" / "c.0"
    data = bytearray(energy.read_bytes())
    data[len(data) // 3] ^= 0xFF
    energy.write_bytes(data)
    stream = open_small(path, workers=workers)
    with pytest.raises(ShardError, match=r"00001.*energy") as caught:
        list(stream.batches(0))
    assert "\n" not in str(caught.value)
    assert str(pickle.loads(pickle.dumps(caught.value))) == str(caught.value)
    stream.close()
    shutil.rmtree(path / "train" / "00001" / "x")
    with pytest.raises(ShardError, match=r"00001.*x"):
        list(open_small(path).sequential(200))
