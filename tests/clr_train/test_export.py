"""An exported encoder: the same features, without the folder of its run and without its shards."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.numpy
import torch
from click.testing import CliRunner
from huggingface_hub import ModelCard

from clr_train import TrainConfig, collect, embed, load_encoder, load_learner, open_stream, pretrain
from clr_train.export.card import model_card
from clr_train.export.cli import export_command
from clr_train.export.files import export_encoder
from clr_train.training.checkpoint import CheckpointError, load_checkpoint
from pilarnet_convert import convert, open_shards
from pilarnet_convert.errors import MissingDependencyError, PilarnetError, ShardError
from tests.clr_train.batches import as_batch, make_batch, make_particles, write_shards
from tests.pilarnet_convert.inputs import QUIRKS
from tests.sample import SAMPLE


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """A run of two steps: its checkpoint, its shards, and the features of the validation split."""
    folder = tmp_path_factory.mktemp("export")
    shards = write_shards(folder / "shards", {"train": (40, 24), "val": (30,), "test": ()})
    config = TrainConfig(
        shards=str(shards),
        out=str(folder / "run"),
        batch_size=24,
        max_steps=2,
        drop_path=0.1,
        device="cpu",
        final_probe=False,
    )
    checkpoint = pretrain(config).checkpoint
    assert checkpoint is not None
    learner = load_learner(checkpoint, device="cpu")
    stream = open_stream(config, split="val")
    features = collect(stream.sequential(8), features=learner.represent).values
    return {"checkpoint": checkpoint, "shards": shards, "features": features}


@pytest.fixture
def encoder_folder(trained: dict[str, Any], tmp_path: Path) -> Path:
    return export_encoder(trained["checkpoint"], tmp_path / "encoder")


def _arrays(shards: Path) -> tuple[Any, Any, Any]:
    """Read the validation split as a user's own arrays."""
    (block,) = open_shards(shards)["val"].blocks(["x", "y", "z", "energy", "offset"])
    xyz = np.stack([block[axis] for axis in "xyz"], axis=1)
    return xyz, block["energy"], block["offset"]


def test_the_same_features_without_run_and_shards(trained: dict[str, Any], tmp_path: Path):
    """The run is gone when the encoder is loaded, and no file says where the shards are."""
    away = tmp_path / "away"
    checkpoint = away / "run" / "checkpoints" / "best.pt"
    checkpoint.parent.mkdir(parents=True)
    shutil.copy(trained["checkpoint"], checkpoint)
    export_encoder(checkpoint, tmp_path / "encoder", shards=trained["shards"])
    xyz, energy, offset = _arrays(trained["shards"])
    shutil.rmtree(away)
    encoder = load_encoder(tmp_path / "encoder")
    assert not any(str(trained["shards"]) in text for text in _texts(tmp_path / "encoder"))
    features = embed(encoder, xyz, energy, offset, batch_size=8)
    assert features.dtype == np.float32
    assert np.array_equal(features, trained["features"])


def _texts(folder: Path) -> list[str]:
    return [(folder / name).read_text() for name in ("config.json", "README.md")]


@pytest.mark.parametrize("batch_size", [1, 7, 1000])
def test_features_of_a_particle_do_not_depend_on_its_batch(
    trained: dict[str, Any], encoder_folder: Path, batch_size: int
):
    encoder = load_encoder(encoder_folder)
    found = embed(encoder, *_arrays(trained["shards"]), batch_size=batch_size)
    assert np.allclose(found, trained["features"], atol=1e-5)


@pytest.mark.parametrize("xyz_type", ["uint8", "int16", "uint64", "float32", "float64"])
@pytest.mark.parametrize("energy_type", ["float16", "float32", "float64", "int32"])
def test_any_type_of_numbers(encoder_folder: Path, xyz_type: str, energy_type: str):
    batch = as_batch(make_particles(1, 5, cube=100))
    xyz, offset = batch.xyz.numpy(), batch.offset.numpy()
    energy = np.ceil(batch.energy.numpy())
    encoder = load_encoder(encoder_folder)
    expected = embed(encoder, xyz, energy, offset)
    found = embed(encoder, xyz.astype(xyz_type), energy.astype(energy_type), offset.astype("u4"))
    assert np.array_equal(found, expected)
    tensors = (torch.from_numpy(xyz), torch.from_numpy(energy).double(), offset.tolist())
    as_tensor = embed(encoder, *tensors)
    assert isinstance(as_tensor, torch.Tensor)
    assert np.array_equal(as_tensor.numpy(), expected)


@pytest.mark.parametrize("kind", [torch.bfloat16, torch.float16, torch.float8_e4m3fn])
def test_tensors_of_types_that_numpy_does_not_know(encoder_folder: Path, kind: torch.dtype):
    xyz, offset = torch.tensor([[1, 2, 3], [1, 2, 4], [8, 8, 8]]), torch.tensor([0, 2, 3])
    energy = torch.tensor([0.5, 1.5, 12.0])  # exact in all of them
    encoder = load_encoder(encoder_folder)
    found = embed(encoder, xyz.to(kind), energy.to(kind), offset)
    assert torch.equal(found, embed(encoder, xyz, energy, offset))


def test_streams_learners_and_encoders_say_what_they_are(
    trained: dict[str, Any], encoder_folder: Path
):
    learner = load_learner(trained["checkpoint"], device="cpu")
    assert repr(learner) == (
        "<Learner atto: encoder of 0.3 million parameters, 384 features; cpu, engine torch, fp32>"
    )
    encoder = load_encoder(encoder_folder)
    assert repr(encoder) == "<Encoder atto: 0.3 million parameters, 384 features>"
    stream = open_stream(learner.config, split="val")
    shards = trained["shards"]
    assert repr(stream) == f"<ParticleStream {shards}, val: 30 particles in batches of 24>"
    (batch,) = stream.sequential(100)
    assert repr(batch) == f"<ParticleBatch: 30 particles, {batch.num_voxels:,} voxels; cpu>"
    features = collect(iter([batch]), features=encoder.represent)
    assert repr(features) == "<Features: 384 of 30 particles>"


def test_a_learner_embeds_arrays_too(trained: dict[str, Any]):
    learner = load_learner(trained["checkpoint"], device="cpu")
    found = embed(learner, *_arrays(trained["shards"]), batch_size=8)
    assert np.array_equal(found, trained["features"])


GOOD = {
    "xyz": np.array([[0, 0, 0], [1, 0, 0], [5, 5, 5]]),
    "energy": np.array([1.0, 2.0, 3.0]),
    "offset": np.array([0, 2, 3]),
}
WRONG = {
    "xyz of another shape": ({"xyz": np.zeros((3, 2))}, r"xyz: .*\[voxels, 3\].*found \[3, 2\]"),
    "no voxels": ({"xyz": np.zeros((0, 3))}, r"xyz: .*one voxel or more, found \[0, 3\]"),
    "xyz in cm": ({"xyz": GOOD["xyz"] + 0.5}, r"xyz: .*whole numbers, .*found \[0.5 .* in row 0"),
    "xyz that are not numbers": ({"xyz": GOOD["xyz"].astype(str)}, r"xyz: .*found <U"),
    "a voxel at infinity": ({"xyz": GOOD["xyz"] + np.inf}, r"xyz: .*found inf to inf"),
    "a voxel far away": ({"xyz": GOOD["xyz"] * 10_000}, r"xyz: .*indices from -\d+ to \d+, found"),
    "too few energies": ({"energy": np.ones(2)}, r"energy: .*shape \[3\], as of xyz, found \[2\]"),
    "a negative energy": ({"energy": np.array([1, -1, 1])}, r"energy: .*found -1 in row 1"),
    "an energy of nan": ({"energy": [1, 2, np.nan]}, r"energy: .*finite .*found nan in row 2"),
    "an energy too large": ({"energy": [1, 2, 1e300]}, r"energy: .*found 1e\+300 in row 2"),
    "an energy whose sums overflow": ({"energy": [1, 3e38, 3e38]}, r"energy: .*3e\+38 in row 1"),
    "counts": ({"offset": np.array([2, 1])}, r"offset: .*0 first and 3 last, found 2 and 1"),
    "offsets without the end": ({"offset": np.array([0, 2])}, r"offset: .*3 last, found 0 and 2"),
    "an empty particle": ({"offset": [0, 3, 3]}, r"offset: .*found 3, 3 for particle 1"),
    "a descent": ({"offset": [0, 3, 2, 3]}, r"offset: .*found 3, 2 for particle 1"),
    "fractions": ({"offset": np.array([0, 3.0])}, r"offset: .*integers .*found float64 \[2\]"),
    "rows of two lengths": ({"xyz": [[1, 2, 3], [1, 2]]}, r"xyz: .*rows of the same length"),
    "no encoder": ({"encoder": "encoder/"}, r"encoder: .*load_encoder .* returns, found str"),
    "batches of none": ({"batch_size": 0}, r"batch_size: .*1 or more, found 0"),
    "no particle": ({"offset": np.array([0])}, r"offset: .*one particle or more"),
}


@pytest.mark.parametrize("name", WRONG)
def test_arrays_that_cannot_be_embedded(name: str):
    change, message = WRONG[name]
    with pytest.raises(PilarnetError, match=message):
        embed(**({"encoder": _never} | GOOD | change))


class _Never:
    def represent(self, _batch: object) -> torch.Tensor:
        raise AssertionError("arrays are checked before they are used")


_never = _Never()


def test_what_the_folder_says(trained: dict[str, Any], encoder_folder: Path):
    about = json.loads((encoder_folder / "config.json").read_text())
    data = (encoder_folder / "model.safetensors").read_bytes()
    assert about["weights"] == {
        "file": "model.safetensors",
        "size": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
    }
    state = load_checkpoint(trained["checkpoint"])
    weights = safetensors.numpy.load(data)
    kept = {f"encoder.{name}" for name in weights}
    assert kept == {name for name in state["model"] if name.startswith("encoder.")}
    assert all(np.array_equal(weights[n], state["model"][f"encoder.{n}"]) for n in weights)
    assert about["num_parameters"] == sum(values.size for values in weights.values())
    assert about["encoder"] == state["encoder"]
    shards = open_shards(trained["shards"])
    training = about["training"]
    assert training["shards"]["identity"] == shards.identity
    labels = np.concatenate([shard.read(["label"])["label"] for shard in shards.splits["train"]])
    counts = np.bincount(labels, minlength=5).tolist()
    assert list(training["shards"]["particles"].values()) == counts
    assert (training["steps"], training["particles"]) == (2, 64)
    assert training["options"]["drop_path"] == 0.1
    assert [c["name"] for c in about["classes"]] == ["electron", "proton", "gamma", "muon", "pion"]


def test_the_model_card(trained: dict[str, Any], encoder_folder: Path):
    card = ModelCard((encoder_folder / "README.md").read_text())
    assert card.data.library_name == "pilarnet-clr"
    assert card.data.pipeline_tag == "feature-extraction"
    about = json.loads((encoder_folder / "config.json").read_text())
    scores = about["training"]["scores"]
    linear = [scores[f"val_linear_{kind}accuracy"] for kind in ("", "balanced_")]
    row = "this encoder, linear probe | " + " | ".join(f"{100 * score:.1f} %" for score in linear)
    assert "SimCLR's contrastive loss, without labels" in card.text
    about["training"]["options"]["loss"] = "supervised"
    assert "which uses the labels" in model_card(about)
    for text in (row, about["weights"]["sha256"], "`" + open_shards(trained["shards"]).identity):
        assert text in card.text


def test_without_the_shards(trained: dict[str, Any], tmp_path: Path):
    checkpoint = tmp_path / "best.pt"
    shutil.copy(trained["checkpoint"], checkpoint)
    hidden = trained["shards"].rename(trained["shards"].with_name("hidden"))
    try:
        arguments = ["--checkpoint", str(checkpoint), "--out", str(tmp_path / "encoder")]
        result = CliRunner().invoke(export_command, arguments)
    finally:
        hidden.rename(trained["shards"])
    assert result.exit_code == 0
    assert "export again with --shards" in result.stderr
    assert result.stdout == (
        f"wrote {tmp_path / 'encoder'}: <Encoder atto: 0.3 million parameters, 384 features>\n"
    )
    about = json.loads((tmp_path / "encoder" / "config.json").read_text())
    identity = open_shards(trained["shards"]).identity
    nothing = {"identity": identity, "particles": None, "sources": None}
    assert (about["training"]["shards"], about["training"]["scores"]) == (nothing, {})
    assert (
        f"`{identity}`; they were not available" in (tmp_path / "encoder" / "README.md").read_text()
    )


_ROW = b"step,val_loss\n2,0.5\n"


@pytest.mark.parametrize(
    ("folder", "metrics", "scores"),
    [
        ("checkpoints", _ROW, {"val_loss": 0.5}),
        ("others", _ROW, {}),
        ("checkpoints", _ROW.replace(b"0.5", b"abc"), {}),
        ("checkpoints", b"step,val_loss\n\xff\xfe\n", {}),
        ("checkpoints", b"step,val_loss\n2,0.5,7\n", {"val_loss": 0.5}),
        ("checkpoints", b"step,val_loss\n2\n", {}),
    ],
)
def test_scores_are_of_the_run_of_the_checkpoint(
    trained: dict[str, Any], tmp_path: Path, folder: str, metrics: bytes, scores: dict[str, float]
):
    checkpoint = tmp_path / folder / "best.pt"
    checkpoint.parent.mkdir()
    shutil.copy(trained["checkpoint"], checkpoint)
    (tmp_path / "metrics.csv").write_bytes(metrics)
    out = export_encoder(checkpoint, tmp_path / "encoder")
    assert json.loads((out / "config.json").read_text())["training"]["scores"] == scores


def test_shards_of_another_training(trained: dict[str, Any], tmp_path: Path):
    other = write_shards(tmp_path / "other", {"train": (10,), "val": (5,), "test": ()})
    with pytest.raises(ShardError, match=r"not the shards of .*expected the set \w+, found \w+"):
        export_encoder(trained["checkpoint"], tmp_path / "encoder", shards=other)
    assert not (tmp_path / "encoder").exists()


def test_filtered_shards_several_sets_and_sets_without_labels(tmp_path: Path):
    """They are told by their checksums: particles that a filter leaves out do not matter."""
    inputs = {"a": SAMPLE, "b": QUIRKS, "c": QUIRKS}
    sets = {name: convert(file, tmp_path / name, workers=1) for name, file in inputs.items()}
    paths = [str(each.path) for each in sets.values()]
    config = TrainConfig(
        shards=paths[:2],
        unlabelled=paths[2],
        out=str(tmp_path / "run"),
        classes=("muon", "proton", "electron"),
        batch_size=8,
        max_steps=1,
        device="cpu",
        final_probe=False,
    )
    checkpoint = pretrain(config).checkpoint
    assert checkpoint is not None
    moved = [str(Path(path).rename(f"{path}-moved")) for path in paths[:2]]
    export_encoder(checkpoint, tmp_path / "encoder", shards=moved)
    training = load_encoder(tmp_path / "encoder").about["training"]
    assert training["shards"]["identity"] == open_shards(moved).identity
    assert sum(training["shards"]["particles"].values()) == sum(
        sets[name].num_particles("train") for name in "ab"
    )
    assert training["unlabelled"]["identity"] == open_shards(paths[2]).identity
    assert sum(training["unlabelled"]["particles"].values()) == sets["c"].num_particles("train")
    assert "Shards whose labels were not used" in (tmp_path / "encoder" / "README.md").read_text()


def test_an_earlier_export_is_replaced_when_asked(trained: dict[str, Any], encoder_folder: Path):
    with pytest.raises(PilarnetError, match="exists already; replace it with --overwrite"):
        export_encoder(trained["checkpoint"], encoder_folder)
    (encoder_folder / "model.safetensors").unlink()
    export_encoder(trained["checkpoint"], encoder_folder, overwrite=True)
    load_encoder(encoder_folder)


@pytest.mark.parametrize("text", ['{"model_type": "bert"}', "[]", "{", "[" * 100_000])
def test_a_model_of_something_else_is_never_replaced(
    trained: dict[str, Any], tmp_path: Path, text: str
):
    (tmp_path / "config.json").write_text(text)
    for out in (tmp_path, trained["checkpoint"].parents[1]):
        with pytest.raises(PilarnetError, match="exists already; choose another --out"):
            export_encoder(trained["checkpoint"], out, overwrite=True)
    assert (tmp_path / "config.json").read_text() == text
    assert trained["checkpoint"].exists()


def test_it_trains_like_any_module(encoder_folder: Path):
    encoder = load_encoder(encoder_folder)
    head = torch.nn.Linear(encoder.out_features, 5)
    batch = make_batch(2, 20)
    optimizer = torch.optim.AdamW([*encoder.parameters(), *head.parameters()], lr=1e-3)
    losses = []
    for _ in range(8):
        loss = torch.nn.functional.cross_entropy(head(encoder(batch)), batch.label)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert all(parameter.grad is not None for parameter in encoder.parameters())
    assert not encoder.represent(batch).requires_grad


def _cut(folder: Path) -> None:
    data = (folder / "model.safetensors").read_bytes()
    (folder / "model.safetensors").write_bytes(data[:-4])


def _about(**changes: Any) -> Callable[[Path], None]:
    def change(folder: Path) -> None:
        path = folder / "config.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | changes))

    return change


DAMAGE: dict[str, tuple[Callable[[Path], object], str]] = {
    "no folder": (shutil.rmtree, "no such folder; make one with clr-export"),
    "no description": (
        lambda f: (f / "config.json").unlink(),
        "holds no exported encoder; make one with",
    ),
    "no JSON": (lambda f: (f / "config.json").write_text("{"), "config.json: not the description"),
    "another model": (
        lambda f: (f / "config.json").write_text('{"model_type": "bert"}'),
        "not the description of an exported encoder .*'format'",
    ),
    "another version": (_about(version=2), "expected pilarnet-clr-encoder 1, found .* 2"),
    "another shape": (_about(encoder={"name": "x", "dims": [8], "depths": [1]}), "do not fit"),
    "a field too many": (_about(encoder={"layers": 3}), "do not fit"),
    "no fields": (_about(encoder=[]), "do not fit"),
    "an unknown transform": (_about(energy_transform="cube"), "unknown energy transform 'cube'"),
    "nothing of the weights": (_about(weights={}), "do not fit .*'sha256'"),
    "no weights": (lambda f: (f / "model.safetensors").unlink(), "the weights are missing"),
    "cut weights": (_cut, "the weights are damaged .expected SHA-256 .* bytes"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_damaged_folders(encoder_folder: Path, name: str):
    damage, message = DAMAGE[name]
    damage(encoder_folder)
    with pytest.raises(CheckpointError, match=message) as caught:
        load_encoder(encoder_folder)
    assert "\n" not in str(caught.value)


def test_without_safetensors(encoder_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "safetensors.torch", None)
    with pytest.raises(MissingDependencyError, match=r"pip install 'pilarnet-clr\[train\]'"):
        load_encoder(encoder_folder)
