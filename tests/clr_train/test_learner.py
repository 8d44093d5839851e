"""What a learner does on a GPU that is old, or where Triton does not work: told by stand-ins."""

from __future__ import annotations

import sys
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from clr_train.config import TrainConfig
from clr_train.learner import Learner, _pick_precision
from clr_train.runtime.kernels import has_triton
from pilarnet_convert.options import OptionError


@pytest.mark.parametrize(
    ("name", "capability", "expected"),
    [("auto", (9, 0), "bf16"), ("auto", (7, 5), "fp32"), ("bf16", (8, 0), "bf16")],
)
def test_bf16_is_taken_where_the_gpu_computes_in_it(
    monkeypatch: pytest.MonkeyPatch, name: str, capability: tuple[int, int], expected: str
) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: capability)
    assert _pick_precision(name, torch.device("cuda")) == expected


def test_bf16_on_an_old_gpu_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _device: (7, 5))
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _device: "Tesla T4")
    with pytest.raises(OptionError, match=r"--precision: .*found Tesla T4.*--precision fp32"):
        _pick_precision("bf16", torch.device("cuda"))


class _Driver:
    """Triton's driver; its helper is compiled when it is first asked for."""

    def __init__(self, *, has_compiler: bool) -> None:
        self._has_compiler = has_compiler

    @property
    def utils(self) -> object:
        if not self._has_compiler:
            raise RuntimeError("Failed to find C compiler.")
        return object()


@pytest.mark.parametrize("has_compiler", [True, False])
def test_triton_is_used_only_where_it_can_compile(
    monkeypatch: pytest.MonkeyPatch, has_compiler: bool
) -> None:
    runtime: Any = SimpleNamespace(
        driver=SimpleNamespace(active=_Driver(has_compiler=has_compiler))
    )
    spec = SimpleNamespace(name="triton")
    monkeypatch.setitem(sys.modules, "triton", SimpleNamespace(runtime=runtime, __spec__=spec))  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, "triton.runtime", runtime)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    has_triton.cache_clear()
    try:
        assert has_triton() == has_compiler
    finally:
        has_triton.cache_clear()


def test_the_generators_of_gpus_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    seeds: list[int] = []
    monkeypatch.setattr(torch.cuda, "manual_seed_all", seeds.append)
    state = torch.get_rng_state()
    Learner(TrainConfig(model="zepto"), device="cpu")
    assert torch.equal(torch.get_rng_state(), state)
    assert seeds == []
