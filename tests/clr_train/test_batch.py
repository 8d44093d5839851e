"""Batches of particles and of sites, against plain lists of them."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from clr_train.batch import ParticleBatch
from tests.clr_train.sparse_reference import random_sites

_COUNTS = st.lists(st.integers(0, 5), min_size=1, max_size=9)


def _batch(counts: list[int]) -> ParticleBatch:
    offset = torch.tensor([0, *counts]).cumsum(0)
    total = int(offset[-1])
    return ParticleBatch(
        xyz=torch.arange(3 * total, dtype=torch.int32).view(total, 3),
        energy=torch.arange(total) / 8,
        offset=offset,
        label=torch.arange(len(counts)) % 5,
        particle=torch.arange(len(counts)) * 7,
    )


def _listed(batch: ParticleBatch) -> list[Any]:
    """Return each particle as label, identity, voxels and energies."""
    bounds = pairwise(batch.offset.tolist())
    voxels = [(batch.xyz[a:b].tolist(), batch.energy[a:b].tolist()) for a, b in bounds]
    return list(zip(batch.label.tolist(), batch.particle.tolist(), voxels, strict=True))


@given(counts=_COUNTS, size=st.integers(1, 10))
def test_pieces_are_the_batch_in_order(counts: list[int], size: int) -> None:
    batch = _batch(counts)
    pieces = list(batch.split(size))
    assert [piece.num_particles for piece in pieces[:-1]] == [size] * (len(pieces) - 1)
    assert 1 <= pieces[-1].num_particles <= size
    assert [particle for piece in pieces for particle in _listed(piece)] == _listed(batch)


@given(sizes=st.lists(st.integers(0, 4), min_size=1, max_size=5), data=st.data())
def test_pieces_of_given_sizes(sizes: list[int], data: st.DataObject) -> None:
    number = sum(sizes)
    batch = _batch(data.draw(st.lists(st.integers(0, 5), min_size=number, max_size=number)))
    pieces = list(batch.split(sizes))
    assert [piece.num_particles for piece in pieces] == sizes
    assert [particle for piece in pieces for particle in _listed(piece)] == _listed(batch)


@given(counts=_COUNTS, data=st.data())
def test_a_slice_is_that_of_a_list(counts: list[int], data: st.DataObject) -> None:
    batch, listed = _batch(counts), _listed(_batch(counts))
    start = data.draw(st.integers(0, len(counts)))
    stop = data.draw(st.integers(start, len(counts)))
    assert _listed(batch.slice(start, stop)) == listed[start:stop]


@given(counts=_COUNTS, data=st.data())
def test_particles_are_taken_as_from_a_list(counts: list[int], data: st.DataObject) -> None:
    batch, listed = _batch(counts), _listed(_batch(counts))
    rows = data.draw(st.lists(st.integers(0, len(counts) - 1), max_size=12))
    taken = batch.take(torch.tensor(rows, dtype=torch.int64))
    assert _listed(taken) == [listed[row] for row in rows]


def test_pieces_share_the_memory_of_the_batch() -> None:
    batch = _batch([2, 0, 3, 4])
    for piece in batch.split(2):
        assert piece.xyz.untyped_storage().data_ptr() == batch.xyz.untyped_storage().data_ptr()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"offset": torch.tensor([0, 2, 4])}, "expected to run from 0 to 5"),
        ({"offset": torch.tensor([0, 6, 5])}, "found a descent"),
        ({"offset": torch.tensor(0)}, r"offset: expected torch.int64 \[\*\], found .* \[\]"),
        ({"offset": torch.tensor([], dtype=torch.int64)}, "offset: expected at least one element"),
        ({"xyz": torch.tensor(0, dtype=torch.int32)}, r"xyz: expected torch.int32 \[\*, 3\]"),
        ({"energy": torch.zeros(5, dtype=torch.float64)}, "energy: expected torch.float32"),
        ({"label": torch.zeros(3, dtype=torch.int64)}, r"label: expected torch.int64 \[2\]"),
    ],
)
def test_wrong_tensors_are_refused(change: dict[str, torch.Tensor], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        replace(_batch([2, 3]), **change)


def test_sites_become_voxels_of_the_same_particles() -> None:
    sites = random_sites(3, channels=1)
    batch = sites.as_particles(like=_batch([1] * 6))
    assert torch.equal(batch.index.particle, sites.particle)
    assert torch.equal(batch.xyz, sites.xyz)
    assert batch.energy.tolist() == sites.features[:, 0].tolist()
    assert batch.particle.tolist() == [0, 7, 14, 21, 28, 35]
