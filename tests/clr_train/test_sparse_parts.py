"""Keys of sites, kernel maps and Triton kernels, each against a slow loop or the plain path."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec

import pytest
import torch
from torch import Tensor

from clr_train.site_keys import MAX_COORDINATE, MAX_KERNEL, pack, unpack
from clr_train.sparse.depthwise import depthwise
from clr_train.sparse.kernel_map import DepthwiseMap, Sites
from tests.clr_train.sparse_reference import assert_close


def random_keys(seed: int, *, num_sites: int, reach: int, num_particles: int = 3) -> Tensor:
    generator = torch.Generator().manual_seed(seed)
    particle = torch.randint(0, num_particles, (num_sites, 1), generator=generator)
    xyz = torch.randint(-reach, reach, (num_sites, 3), generator=generator)
    return pack(particle.squeeze(1), xyz.unbind(1)).unique()


def rows_of(keys: Tensor) -> list[tuple[int, ...]]:
    return list(zip(*(part.tolist() for part in unpack(keys)), strict=True))


def test_keys_ascend_as_sites_do_and_unpack() -> None:
    keys = random_keys(0, num_sites=500, reach=9000)
    rows = rows_of(keys)
    assert rows == sorted(rows)
    particle, *xyz = torch.tensor(rows).unbind(1)
    assert torch.equal(pack(particle, xyz), keys)


@pytest.mark.parametrize("most", [10**6, 0])
@pytest.mark.parametrize("kernel_size", [1, 3, 7])
def test_pairs_are_those_of_a_loop_over_sites_and_offsets(
    kernel_size: int, most: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("clr_train.sparse.kernel_map._MOST_CANDIDATES", most)
    keys = random_keys(1, num_sites=120, reach=5)
    row_of = {row: number for number, row in enumerate(rows_of(keys))}
    reach = range(-(kernel_size // 2), kernel_size // 2 + 1)
    expected = []
    for (b, x, y, z), target in row_of.items():
        offsets = [(dx, dy, dz) for dx in reach for dy in reach for dz in reach]
        for kernel, (dx, dy, dz) in enumerate(offsets):
            source = row_of.get((b, x + dx, y + dy, z + dz))
            if source is not None:
                expected.append((target, source, kernel))
    pairs = DepthwiseMap(keys, kernel_size=kernel_size)
    found = torch.stack([pairs.target, pairs.source, pairs.kernel], dim=1)
    assert [tuple(row) for row in found.tolist()] == expected


@pytest.mark.parametrize("num_pairs", [1, 50, 10**6])
def test_chunks_cover_rows_and_pairs_once(num_pairs: int) -> None:
    pairs = DepthwiseMap(random_keys(2, num_sites=200, reach=5), kernel_size=7)
    chunks = pairs.chunks(num_pairs)
    rows = [row for chunk in chunks for row in range(chunk.rows.start, chunk.rows.stop)]
    members = [p for chunk in chunks for p in range(chunk.pairs.start, chunk.pairs.stop)]
    assert rows == list(range(len(pairs.row_offset) - 1))
    assert members == list(range(len(pairs.target)))
    for chunk in chunks:
        kernel = pairs.kernel[chunk.pairs][chunk.by_offset]
        assert torch.equal(kernel.bincount(minlength=343), chunk.offset_start.diff())
        assert (kernel.diff() >= 0).all()


@pytest.mark.parametrize("most", [10**6, 0])
def test_pairs_at_the_ends_of_the_coordinates(most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clr_train.sparse.kernel_map._MOST_CANDIDATES", most)
    ends = [-MAX_COORDINATE, MAX_COORDINATE - 1]
    corners = torch.cartesian_prod(torch.tensor([0, 1]), *3 * [torch.tensor(ends)])
    keys = pack(corners[:, 0], corners[:, 1:].unbind(1))
    pairs = DepthwiseMap(keys, kernel_size=MAX_KERNEL)
    assert torch.equal(pairs.target, torch.arange(len(keys)))
    assert torch.equal(pairs.source, torch.arange(len(keys)))


def test_maps_are_built_once_a_level() -> None:
    sites = Sites(random_keys(3, num_sites=50, reach=5), stride=1, num_particles=3)
    assert sites.depthwise_map(7) is sites.depthwise_map(7)
    assert sites.coarser(2)[0] is sites.coarser(2)[0]


def test_chunked_convolution_passes_gradcheck(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("clr_train.sparse.depthwise._chunk_pairs", lambda *_: 7)
    pairs = DepthwiseMap(random_keys(4, num_sites=12, reach=2), kernel_size=3)
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(pairs.row_offset) - 1, 2), (27, 2), (2,)]
    inputs = [
        torch.randn(s, generator=generator, dtype=torch.float64, requires_grad=True) for s in shapes
    ]
    assert torch.autograd.gradcheck(lambda *t: depthwise(*t, pairs=pairs), inputs)


def test_half_precision_features_sum_in_float32() -> None:
    pairs = DepthwiseMap(random_keys(5, num_sites=400, reach=4), kernel_size=7)
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(len(pairs.row_offset) - 1, 4, generator=generator).bfloat16()
    weight = torch.randn(343, 4, generator=generator)
    found = depthwise(x, weight, None, pairs=pairs)
    exact = depthwise(x.double(), weight.double(), None, pairs=pairs)
    assert found.dtype == torch.bfloat16
    assert torch.equal(found, exact.float().bfloat16()) or float(
        (found.double() - exact).abs().max()
    ) <= 2**-8 * float(exact.abs().max())


def compare_triton(
    *,
    device: str,
    dtype: torch.dtype,
    tolerance: float,
    channels: int,
    kernel_size: int,
    num_sites: int,
) -> None:
    """Compare the Triton path with the plain one, outputs and gradients."""
    from clr_train.sparse import triton_depthwise

    keys = random_keys(7, num_sites=num_sites, reach=4).to(device)
    pairs = DepthwiseMap(keys, kernel_size=kernel_size)
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(keys), channels), (kernel_size**3, channels), (channels,), (len(keys), channels)]
    tensors = [torch.randn(shape, generator=generator).to(device) for shape in shapes]
    results = []
    for operator in (triton_depthwise.depthwise, depthwise):
        x, weight, bias = (t.clone() for t in tensors[:3])
        leaves = [t.requires_grad_() for t in (x.to(dtype), weight, bias)]
        out = operator(*leaves, pairs=pairs)
        out.backward(tensors[3].to(dtype))
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
        assert out.dtype == dtype
        assert [leaf.grad.dtype for leaf in leaves] == [dtype, torch.float32, torch.float32]
    assert_close(*results, tolerance=tolerance)


@pytest.mark.skipif(find_spec("triton") is None, reason="Triton is not installed")
def test_triton_kernels_in_its_interpreter() -> None:
    # Triton reads the variable when it is imported: another process.
    code = (
        "import torch; from tests.clr_train.test_sparse_parts import compare_triton as c\n"
        "size = {'device': 'cpu', 'kernel_size': 3, 'num_sites': 40}\n"
        "c(**size, dtype=torch.float32, tolerance=1e-5, channels=5)\n"
        "c(**size, dtype=torch.bfloat16, tolerance=2**-7, channels=16)\n"
        "from tests.clr_train.test_keys import compare_triton as c; c('cpu')\n"
        "from tests.clr_train.test_response_norm import compare_triton as c\n"
        "c(device='cpu', dtype=torch.float32, tolerance=1e-6, channels=5)\n"
        "c(device='cpu', dtype=torch.float32, tolerance=1e-6, channels=144)\n"
        "c(device='cpu', dtype=torch.bfloat16, tolerance=2**-6, channels=16)"
    )
    environment = {**os.environ, "TRITON_INTERPRET": "1"}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-7)])
@pytest.mark.parametrize("channels", [5, 96, 384])
def test_triton_kernels_on_a_gpu(dtype: torch.dtype, tolerance: float, channels: int) -> None:
    compare_triton(
        device="cuda",
        dtype=dtype,
        tolerance=tolerance,
        channels=channels,
        kernel_size=7,
        num_sites=2000,
    )
