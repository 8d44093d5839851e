"""A checkpoint that a training replaces while it is evaluated, embedded with or exported."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

from clr_eval import EvalConfig, embed, evaluate
from clr_train import load_encoder, load_learner
from clr_train.export.files import export_encoder
from clr_train.training.checkpoint import load_checkpoint, save_checkpoint


@pytest.fixture
def replaced(checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of `checkpoint` that another replaces as soon as torch has read it."""
    state = load_checkpoint(checkpoint)
    model = {name: 2 * weight for name, weight in state["model"].items()}
    fields = {n: v for n, v in state.items() if n not in ("format", "version")}
    save_checkpoint(tmp_path / "new.pt", state={**fields, "model": model, "step": 77})
    path = tmp_path / "best.pt"
    shutil.copy(checkpoint, path)
    load = torch.load

    def load_and_replace(*arguments: object, **options: object) -> object:
        read = load(*arguments, **options)  # type: ignore[arg-type]
        if (tmp_path / "new.pt").exists():
            (tmp_path / "new.pt").replace(path)
        return read

    monkeypatch.setattr(torch, "load", load_and_replace)
    return path


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_report_names_the_checkpoint_that_it_is_of(
    replaced: Path, checkpoint: Path, shards: Path, tmp_path: Path
) -> None:
    config = EvalConfig(
        checkpoint=str(replaced), shards=str(shards), out=str(tmp_path / "report"), device="cpu",
        parts=("probe",), fractions=(1.0,), seeds=(0,), resamples=0,
    )  # fmt: skip
    before, after = (evaluate(config)["checkpoint"] for _ in range(2))
    assert (before["step"], before["sha256"]) == (2, _sha256(checkpoint))
    assert (after["step"], after["sha256"]) == (77, _sha256(replaced))
    kept = sorted((tmp_path / "report/results").glob("features-trained-test-*"))
    values = [np.load(path)["values"] for path in kept]
    assert not np.array_equal(*values)


def test_embeddings_name_the_checkpoint_that_made_them(
    replaced: Path, checkpoint: Path, shards: Path
) -> None:
    found, expected = (embed(path, shards, device="cpu") for path in (replaced, checkpoint))
    np.testing.assert_array_equal(found.features, expected.features)
    assert found.attributes["checkpoint_sha256"] == _sha256(checkpoint)


def test_an_export_has_the_weights_of_the_step_that_it_names(
    replaced: Path, checkpoint: Path, tmp_path: Path
) -> None:
    export_encoder(replaced, tmp_path / "encoder")
    about = json.loads((tmp_path / "encoder/config.json").read_text())
    assert about["training"]["steps"] == 2
    found = load_encoder(tmp_path / "encoder").network.state_dict()
    for name, weight in load_learner(checkpoint, device="cpu").model.encoder.state_dict().items():
        assert torch.equal(found[name], weight)
