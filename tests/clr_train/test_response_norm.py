"""The response norm of each particle: Triton kernels against plain torch operations."""

from __future__ import annotations

import pytest
import torch

from clr_train.network.response_norm import EPSILON, TINY, plain_response_norm
from clr_train.ragged import RaggedIndex, offsets_of
from tests.clr_train.sparse_reference import assert_close


def compare_triton(*, device: str, dtype: torch.dtype, tolerance: float, channels: int) -> None:
    """Compare outputs and gradients, of particles of many sites, of one and of none."""
    from clr_train.network import triton_response_norm

    index = RaggedIndex(offsets_of(torch.tensor([3, 0, 40, 1, 17]).to(device)), num_rows=61)
    generator = torch.Generator().manual_seed(0)
    shapes = [(61, channels), (channels,), (channels,), (61, channels)]
    x, gamma, beta, upper = (torch.randn(s, generator=generator).to(device) for s in shapes)
    results = []
    for norm in (
        lambda *t: triton_response_norm.response_norm(*t, index, tiny=TINY, epsilon=EPSILON),
        lambda *t: plain_response_norm(*t, index),
    ):
        leaves = [t.clone().requires_grad_() for t in (x.to(dtype), gamma, beta)]
        out = norm(*leaves)
        out.backward(upper.to(dtype))
        results.append([out.detach(), *(leaf.grad for leaf in leaves)])
        assert out.dtype == dtype
        assert [leaf.grad.dtype for leaf in leaves] == [dtype, torch.float32, torch.float32]
    assert_close(*results, tolerance=tolerance)


@pytest.mark.gpu
@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float32, 1e-5), (torch.bfloat16, 2**-6)])
@pytest.mark.parametrize("channels", [5, 384, 3072])
def test_triton_kernels_on_a_gpu(dtype: torch.dtype, tolerance: float, channels: int) -> None:
    compare_triton(device="cuda", dtype=dtype, tolerance=tolerance, channels=channels)
