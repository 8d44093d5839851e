"""Short training runs: resumed bit for bit, in several processes and pieces, and when they fail."""

from __future__ import annotations

import csv
import dataclasses
import io
import json
import os
import shutil
import signal
import sys
import time
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams.plugin_data_pb2 import HParamsPluginData

from clr_train import train
from clr_train.config import TrainConfig, read_config
from clr_train.learner import Learner
from clr_train.runtime.processes import World
from clr_train.stream.stream import open_stream
from clr_train.train import TrainingError, TrainResult, pretrain
from clr_train.training import recorder
from clr_train.training.checkpoint import CheckpointError, load_checkpoint
from clr_train.training.dry_run import describe, saved_bytes
from clr_train.training.pretrained import load_learner, load_weights
from clr_train.training.resume import TrainingRun, start_run
from clr_train.training.run_folder import COLUMNS, RunFolder
from clr_train.training.validation import Validator
from pilarnet_convert.errors import MissingDependencyError, PilarnetError
from pilarnet_convert.shards.reader import open_shards
from tests.clr_train.species import make_shards
from tests.writing import rewrite

#: Six steps over two epochs of four batches, with dropped paths and every kind of state.
OPTIONS: dict[str, Any] = {
    "model": "atto",
    "drop_path": 0.2,
    "batch_size": 24,
    "epochs": 2,
    "max_steps": 6,
    "checkpoint_every": 2,
    "eval_every": 3,
    "device": "cpu",
    "final_probe": False,
    "lr": 1e-2,
}


#: Columns that differ when a run is repeated.
TIMING_COLUMNS = ("seconds", "particles_per_second", "data_wait_share")


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("train") / "shards"
    return make_shards(path, {"train": 100, "val": 40, "test": 40})


def _config(shards: Path, out: Path, **options: Any) -> TrainConfig:
    return TrainConfig(shards=str(shards), out=str(out), **(OPTIONS | options))


def _train(config: TrainConfig, **options: Any) -> TrainResult:
    return pretrain(config, say=lambda _line: None, **options)


@pytest.fixture(scope="module")
def straight(shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of a run that was never stopped."""
    out = tmp_path_factory.mktemp("straight") / "run"
    result = _train(_config(shards, out))
    assert (result.step, result.total_steps, result.stopped_by) == (6, 6, 0)
    return out


def read_metrics(out: Path) -> list[dict[str, str]]:
    """Read what a run logged, without what tells of the machine's speed."""
    with open(out / "metrics.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return [{k: v for k, v in row.items() if k not in TIMING_COLUMNS} for row in rows]


def assert_same_run(out: Path, straight: Path, *, step: int = 6) -> None:
    """Compare weights, optimizer and metrics of two runs to the bit."""
    found, expected = (
        load_checkpoint(o / f"checkpoints/step-{step:08d}.pt") for o in (out, straight)
    )
    assert found["model"].keys() == expected["model"].keys()
    for name, weight in expected["model"].items():
        assert torch.equal(found["model"][name], weight), name
    for i, moments in expected["optimizer"]["state"].items():
        for name, value in moments.items():
            assert torch.equal(found["optimizer"]["state"][i][name], value)
    assert found["stream"] == expected["stream"]
    assert torch.equal(found["random"]["cpu"], expected["random"]["cpu"])
    assert read_metrics(out) == read_metrics(straight)


def test_a_run_writes_what_it_says(straight: Path) -> None:
    assert {path.name for path in straight.iterdir()} == {
        ".lock",
        "checkpoints",
        "config.toml",
        "log.txt",
        "metrics.csv",
        "tensorboard",
    }
    kept = {path.name for path in (straight / "checkpoints").iterdir()}
    losses = [float(row["val_loss"]) for row in read_metrics(straight) if row["val_loss"]]
    # Due every second step and when the validation improves, which is measured every third.
    improved = {3} if losses[1] < losses[2] else {3, 6}
    assert kept == {
        "best.pt",
        *(f"step-{step:08d}.pt" for step in sorted({2, 4, 6, *improved})[-3:]),
    }
    assert load_checkpoint(straight / "checkpoints/best.pt")["step"] == max(improved)
    assert read_config(straight / "config.toml")["batch_size"] == 24
    rows = read_metrics(straight)
    assert [int(row["step"]) for row in rows] == list(range(7))
    assert [row["epoch"] for row in rows] == ["0", "0", "0", "0", "0", "1", "1"]
    judged = [name for name in COLUMNS if name.startswith("val_")]
    for row in rows:
        values = [row[name] for name in judged]
        assert all(values) if int(row["step"]) % 3 == 0 else not any(values)
    for row in (rows[3], rows[6]):  # the baselines are those of step 0
        assert row["val_untrained_linear_accuracy"] == rows[0]["val_linear_accuracy"]
        assert row["val_majority_accuracy"] == rows[0]["val_majority_accuracy"]


def test_stopped_by_a_signal_in_mid_epoch_and_resumed_it_is_the_same_run(
    shards: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(shards, tmp_path / "run")
    log = RunFolder.log

    def log_and_interrupt(self: RunFolder, row: dict[str, float]) -> None:
        log(self, row)
        if row["step"] == 4:
            os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(RunFolder, "log", log_and_interrupt)
    result = _train(config)
    assert (result.step, result.stopped_by) == (5, signal.SIGTERM)
    assert result.checkpoint == tmp_path / "run/checkpoints/step-00000005.pt"
    monkeypatch.setattr(RunFolder, "log", log)
    torch.manual_seed(12345)  # whatever a new process begins with
    assert _train(config, resume=True).step == 6
    assert_same_run(tmp_path / "run", straight)


def test_stopped_in_an_evaluation_it_is_saved_before_and_evaluated_later(
    shards: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(shards, tmp_path / "run")
    measure = Validator.measure

    def measure_until_stopped(self: Validator, learner: Learner) -> dict[str, float]:
        if len(read_metrics(tmp_path / "run")) == 3:  # in the evaluation of step 3
            os.kill(os.getpid(), signal.SIGUSR1)
            time.sleep(60)
            pytest.fail("the signal did not end the evaluation")
        return measure(self, learner)

    monkeypatch.setattr(Validator, "measure", measure_until_stopped)
    result = _train(config)
    assert (result.step, result.stopped_by) == (3, signal.SIGUSR1)
    assert result.checkpoint == tmp_path / "run/checkpoints/step-00000003.pt"
    monkeypatch.setattr(Validator, "measure", measure)
    assert _train(config, resume=True).step == 6
    assert_same_run(tmp_path / "run", straight)


def test_stopped_in_the_last_probe_it_is_resumed_to_it(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(shards, tmp_path / "run", max_steps=1, final_probe=True)

    def stopped(*_: object, **__: object) -> dict[str, Any]:
        os.kill(os.getpid(), signal.SIGTERM)
        raise AssertionError

    with monkeypatch.context() as patch:
        patch.setattr(recorder, "final_probe", stopped)
        result = _train(config)
    assert (result.step, result.stopped_by, result.probe) == (1, signal.SIGTERM, {})
    assert _train(config, resume=True).probe


@pytest.mark.parametrize("schedule", ["stretch", "restart", "constant"])
def test_more_steps_and_the_learning_rate(
    shards: Path, straight: Path, tmp_path: Path, schedule: str
) -> None:
    shutil.copytree(straight, tmp_path / "run")
    config = _config(shards, tmp_path / "run", epochs=3, max_steps=None, schedule=schedule)
    said: list[str] = []
    assert pretrain(config, resume=True, say=said.append).step == 12
    rates = [float(row["learning_rate"] or "nan") for row in read_metrics(tmp_path / "run")]

    def planned(step: int, total: int) -> float:
        rising = round(0.05 * total)
        if step < rising:
            return 1e-2 * (step + 1) / rising
        share = min(1, (step - rising) / (total - rising))
        return 1e-2 * (0.01 + 0.99 * (1 + np.cos(np.pi * share)) / 2)

    rate = {
        "stretch": lambda step: planned(step, 12),
        "restart": lambda step: planned(step - 6, 6),
        "constant": lambda step: planned(step, 6),
    }[schedule]
    assert rates[1:7] == pytest.approx([planned(step, 6) for step in range(6)])
    assert rates[7:] == pytest.approx([rate(step) for step in range(6, 12)])
    (line,) = [line for line in said if "learning rate" in line]
    assert line == (
        f"12 steps in place of 6: the learning rate, {rates[6]:.3g} in step 6, is {rates[7]:.3g} "
        f"in the next (--schedule {schedule})"
    )
    # Continuing without a change keeps the plan.
    again = dataclasses.replace(config, schedule="stretch")
    state = load_checkpoint(tmp_path / "run/checkpoints/step-00000012.pt")
    run = start_run(again, world=World(rank=0, size=1, device=torch.device("cpu")))
    run.restore(state)
    run.progress.step = 8
    assert run.next_rate() == pytest.approx(rate(8))


@pytest.mark.parametrize(
    ("schedule", "expected"),
    [("stretch", [1 / 4, 1 / 8]), ("restart", [1, 1 / 2]), ("constant", [1 / 2, 1 / 2])],
)
def test_more_epochs_and_a_rate_that_falls_each_epoch(
    shards: Path, tmp_path: Path, schedule: str, expected: list[float]
) -> None:
    options = {"lr_decay": 0.5, "lr": 1.0, "warmup": 0.0, "max_steps": None}
    world = World(rank=0, size=1, device=torch.device("cpu"))
    run = start_run(_config(shards, tmp_path, epochs=2, **options), world=world)
    assert run.stream.num_batches == 4
    run.progress.step = 8
    longer = start_run(
        _config(shards, tmp_path, epochs=4, schedule=schedule, **options), world=world
    )
    longer.restore(run.capture())
    for step in range(8, 16):
        longer.progress.step = step
        assert longer.next_rate() == expected[(step - 8) // 4]


def distance(out: Path, other: Path, config: TrainConfig) -> float:
    """Compare the weights that two runs end with, relative to how far they moved."""
    step = config.max_steps or 0
    ends = [load_checkpoint(o / f"checkpoints/step-{step:08d}.pt")["model"] for o in (out, other)]
    first = Learner(config, device=torch.device("cpu")).model.state_dict()
    apart, moved = (
        sum(float((a[name] - b[name]).double().square().sum()) for name in first)
        for a, b in ((ends[0], ends[1]), (ends[1], first))
    )
    assert moved > 0
    return float((apart / moved) ** 0.5)


def test_pieces_and_whole_batches_give_the_same_weights(shards: Path, tmp_path: Path) -> None:
    whole = _config(shards, tmp_path / "whole", max_steps=3)
    _train(whole)
    _train(dataclasses.replace(whole, out=str(tmp_path / "pieces"), micro_batch_size=7))
    assert distance(tmp_path / "pieces", tmp_path / "whole", whole) < 1e-3


def test_supervised_training_uses_the_labels(shards: Path, tmp_path: Path) -> None:
    config = _config(shards, tmp_path / "run", loss="supervised", max_steps=2)
    _train(config)
    paired = dataclasses.replace(config, out=str(tmp_path / "paired"), loss="simclr")
    _train(paired)
    assert distance(tmp_path / "run", tmp_path / "paired", config) > 0.1


def first_gradient(out: Path) -> torch.Tensor:
    """Return the gradient of the first step, up to a factor: AdamW's first moment then."""
    state = load_checkpoint(out / "checkpoints/step-00000001.pt")["optimizer"]["state"]
    return torch.cat([moments["exp_avg"].flatten() for moments in state.values()])


def test_another_process_continues_from_what_the_first_shares(
    shards: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = _config(shards, tmp_path / "run")
    state = load_checkpoint(straight / "checkpoints/step-00000006.pt")
    learners: list[Learner] = []
    restore = TrainingRun.restore

    def noted(self: TrainingRun, *arguments: Any, **options: Any) -> None:
        restore(self, *arguments, **options)
        learners.append(self.learner)

    monkeypatch.setattr(TrainingRun, "restore", noted)
    monkeypatch.setattr(World, "share", lambda _self, own: state if own is None else own)
    monkeypatch.setattr(World, "largest", lambda _self, value: value)
    second = World(rank=1, size=2, device=torch.device("cpu"))
    monkeypatch.setattr(train, "join_world", lambda _device: nullcontext(second))
    result = _train(config)
    assert (result.step, result.checkpoint, result.probe) == (6, None, {})
    (learner,) = learners
    for name, weight in learner.model.state_dict().items():
        assert torch.equal(weight, state["model"][name])
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"max_steps": 5}, r"--max-steps: .*expected 6, as in the first process, found 5"),
        ({"shards": "other"}, "--shards: the processes of the run differ"),
        ({"out": "elsewhere", "workers": 1}, None),
    ],
)
def test_processes_that_differ_are_refused(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    options: dict[str, Any],
    said: str | None,
) -> None:
    shared: list[Any] = []
    monkeypatch.setattr(World, "share", lambda _self, value: (shared.append(value), shared[0])[1])
    config = _config(shards, tmp_path / "run")
    start_run(config, world=World(rank=0, size=2, device=torch.device("cpu")))
    if "shards" in options:
        options = {"shards": str(make_shards(tmp_path / "other", {"train": 100}, seed=1))}
    expected = nullcontext() if said is None else pytest.raises(PilarnetError, match=said)
    with expected:
        start_run(
            dataclasses.replace(config, **options),
            world=World(rank=1, size=2, device=torch.device("cpu")),
        )


def test_energy_that_is_not_finite_stops_the_run(shards: Path, tmp_path: Path) -> None:
    sick = tmp_path / "shards"
    shutil.copytree(shards, sick)

    def spoil(arrays: dict[str, Any]) -> None:
        arrays["energy"][arrays["offset"][20] + 1] = np.inf  # one voxel of particle 20

    rewrite(sick, spoil)
    config = _config(
        sick,
        tmp_path / "run",
        checkpoint_every=1,
        augmentations=("identity",),
        num_augmentations=0,
        eval_particles=10,  # the evaluation before the first step does not use it
    )
    with pytest.raises(TrainingError) as caught:
        _train(config)
    noted = json.loads((tmp_path / "run/nonfinite.json").read_text())
    assert 20 in noted["particles"]
    assert len(noted["particles"]) == 24
    message = str(caught.value)
    assert f"step {noted['step']} is not finite" in message
    assert str(noted["particles"][0]) in message
    assert "nonfinite.json" in message
    last = tmp_path / f"run/checkpoints/step-{noted['step'] - 1:08d}.pt"
    if noted["step"] > 1:
        assert str(last) in message
        weights = load_checkpoint(last)["model"].values()
        assert all(bool(weight.isfinite().all()) for weight in weights)
    else:
        assert "none was due yet" in message

    everywhere = dataclasses.replace(config, out=str(tmp_path / "again"), eval_particles=100)
    with pytest.raises(PilarnetError, match=r"features that are not finite.*particle 20"):
        _train(everywhere)


def test_a_checkpoint_of_another_run_is_refused(
    shards: Path, straight: Path, tmp_path: Path
) -> None:
    other = make_shards(tmp_path / "other", {"train": 90, "val": 40, "test": 40})
    equal = make_shards(tmp_path / "equal", {"train": 100, "val": 40, "test": 40}, seed=1)
    for options, message in (
        ({"shards": str(equal)}, "--shards: the checkpoint was trained on other shards"),
        ({"model": "femto"}, r"--model: the checkpoint is of another model \(expected atto, found"),
        ({"seed": 5}, r"--seed: the checkpoint is of another run \(expected 0, found 5\)"),
        ({"shards": str(other)}, "--shards: the checkpoint was trained on other shards"),
        ({"max_steps": 3}, r"--max-steps: .*expected at least 6 steps in all, found 3"),
        ({"epochs": 1}, r"--epochs: .*expected at least 6 steps in all, found 4"),
    ):
        config = dataclasses.replace(_config(shards, straight), **options)
        with pytest.raises(CheckpointError, match=message):
            _train(config, resume=True)
    assert_same_run(straight, straight)


@pytest.mark.parametrize("change", [{"val_split": "test"}, {"eval_particles": 20}])
def test_losses_of_another_sample_are_not_compared(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: dict[str, Any]
) -> None:
    config = _config(shards, tmp_path / "run", max_steps=3)
    lines: list[str] = []
    measure = Validator.measure

    def lower(self: Validator, learner: Learner) -> dict[str, float]:
        return measure(self, learner) | {"val_loss": -1.0}

    with monkeypatch.context() as patch:
        patch.setattr(Validator, "measure", lower)
        _train(config)
    best = tmp_path / "run/checkpoints/best.pt"
    pretrain(dataclasses.replace(config, **change), resume=True, say=lines.append)
    assert "best.pt" not in lines[-1]
    for options, step in (({}, 3), (change, 6)):
        _train(dataclasses.replace(config, max_steps=6, **options), resume=True)
        assert load_checkpoint(best)["step"] == step
        (best.parent / "step-00000006.pt").unlink()
    before, after = (read_metrics(tmp_path / "run")[step] for step in (3, 6))
    baselines = [name for name in before if "untrained" in name]
    assert all(before[name] for name in baselines)
    assert [after[name] for name in baselines] == ["", "", "", ""]


def test_a_finished_run_is_resumed_to_its_end(shards: Path, straight: Path) -> None:
    before = read_metrics(straight)
    assert _train(_config(shards, straight), resume=True).step == 6
    assert read_metrics(straight) == before


def test_an_encoder_is_loaded_from_its_checkpoint(shards: Path, straight: Path) -> None:
    path = straight / "checkpoints/step-00000006.pt"
    learner = load_learner(path, device="cpu", engine="torch")
    stream = open_stream(_config(shards, straight), split="test")
    batch = next(stream.sequential(16))
    features = learner.represent(batch)
    assert features.shape == (16, learner.model.encoder.out_features)
    alone = next(batch.split(1))
    torch.testing.assert_close(learner.represent(alone), features[:1], rtol=1e-4, atol=1e-5)
    untrained = Learner(_config(shards, straight), device=torch.device("cpu"))
    assert not torch.allclose(untrained.represent(batch), features, rtol=1e-2)


def test_training_lowers_the_loss_and_the_probe_is_kept(shards: Path, tmp_path: Path) -> None:
    config = _config(
        shards,
        tmp_path / "run",
        max_steps=None,
        epochs=8,
        eval_every=16,
        final_probe=True,
        lr=2e-3,
        drop_path=0.0,
    )
    said: list[str] = []
    result = pretrain(config, say=said.append)
    rows = read_metrics(tmp_path / "run")
    assert float(rows[-1]["val_loss"]) < float(rows[0]["val_loss"]) - 0.1
    losses = [float(row["loss"]) for row in rows[1:]]
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1
    assert set(result.probe) == set(json.loads((tmp_path / "run/probe.json").read_text()))
    # The species differ in energy and straightness, which handcrafted features name.
    assert result.probe["handcrafted features, linear"].accuracy > 0.7
    held = {
        split: sum(shard.num_particles for shard in open_shards(shards).splits[split])
        for split in ("train", "test")
    }
    counts = f"{held['test']} particles, fitted on {held['train']} of the train split:"
    head, table, summary = said[-3:]
    assert head == f"probes of the test split, {counts}"
    assert any(line.startswith("trained encoder, linear") for line in table.splitlines())
    percent = f"{100 * result.probe['trained encoder, linear'].balanced_accuracy:.1f} %"
    assert summary.startswith(
        f"wrote {config.out}: {result.step} steps; the encoder is in {result.checkpoint}; balanced "
        f"accuracy of its linear probe {percent} (untrained "
    )
    lowest = min(float(row["val_loss"]) for row in rows[1:] if row["val_loss"])
    assert summary.endswith(f"best.pt has the lowest validation loss, {lowest:.3f}")


@pytest.mark.parametrize(
    ("package", "options"), [("wandb", {"wandb": "project"}), ("matplotlib", {"images_every": 2})]
)
def test_a_missing_package_is_said_before_a_folder_is_made(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, package: str, options: Any
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(MissingDependencyError, match=f"{package}.* is not installed"):
        _train(_config(shards, tmp_path / "run", **options))
    assert not (tmp_path / "run").exists()


def test_pictures_are_logged_and_change_nothing(
    shards: Path, straight: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[int, str, Any]] = []
    run = SimpleNamespace(
        log=lambda values, step: logged.extend((step, name, values[name]) for name in values),
        finish=lambda exit_code: logged.append((-1, "end", exit_code)),
    )
    wandb = SimpleNamespace(Image=lambda pixels: pixels, init=lambda **_options: run)
    monkeypatch.setitem(sys.modules, "wandb", wandb)
    _train(_config(shards, tmp_path / "run", images_every=10, wandb="project"))
    assert_same_run(tmp_path / "run", straight)

    events = EventAccumulator(str(tmp_path / "run/tensorboard"), size_guidance={"images": 0})
    events.Reload()
    names = ["map of the features", "nearest neighbours", "confusion of the linear probe"]
    assert events.Tags()["images"] == [f"pictures/{name}" for name in names]
    for name in names:
        shown = {step: pixels for step, tag, pixels in logged if tag == f"pictures/{name}"}
        assert list(shown) == [0, 6]  # at the end too, whatever its number
        for event in events.Images(f"pictures/{name}"):
            image = np.asarray(Image.open(io.BytesIO(event.encoded_image_string)))
            np.testing.assert_array_equal(image, shown[event.step])
            assert image.std() > 20  # something is drawn
        assert (shown[0] != shown[6]).any()  # something was learned
    assert {tag for step, tag, _ in logged if step >= 0 and "pictures/" not in tag} == set(
        events.Tags()["scalars"]
    )
    assert logged[-1] == (-1, "end", 0)
    content = events.PluginTagToContent("hparams")["_hparams_/session_start_info"]
    options = HParamsPluginData.FromString(content).session_start_info.hparams
    assert options["batch_size"].number_value == 24
    assert options["model"].string_value == "atto"
    assert (
        "| batch_size | 24 |"
        in events.Tensors("options/text_summary")[0].tensor_proto.string_val[0].decode()
    )


def _picture_steps(out: Path) -> list[int]:
    steps: list[int] = []
    # Each by itself: the order of their names is not always that of time.
    for file in (out / "tensorboard").iterdir():
        events = EventAccumulator(str(file), size_guidance={"images": 0})
        events.Reload()
        if events.Tags()["images"]:
            steps += [event.step for event in events.Images("pictures/map of the features")]
    return sorted(steps)


@pytest.mark.parametrize("drawing", [False, True])
@pytest.mark.parametrize("step", [2, 3])  # without and with an evaluation
def test_a_signal_loses_no_picture(
    shards: Path,
    straight: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    drawing: bool,
) -> None:
    config = _config(shards, tmp_path / "run", images_every=step)
    log, stopped = RunFolder.log, False

    def log_and_interrupt(self: RunFolder, row: dict[str, float]) -> None:
        log(self, row)
        if row["step"] == step - 1 and not drawing:
            os.kill(os.getpid(), signal.SIGTERM)

    def draw(_self: Validator, _learner: Learner) -> dict[str, Any]:
        nonlocal stopped
        if not stopped and drawing and (tmp_path / f"run/checkpoints/step-{step:08d}.pt").exists():
            stopped = True
            os.kill(os.getpid(), signal.SIGTERM)
            pytest.fail("the signal did not end the drawing")
        return {"map of the features": np.zeros((4, 4, 3), np.uint8)}

    monkeypatch.setattr(Validator, "draw", draw)
    with monkeypatch.context() as patch:
        patch.setattr(RunFolder, "log", log_and_interrupt)
        result = _train(config)
    assert (result.step, result.stopped_by) == (step, signal.SIGTERM)
    _train(config, resume=True)
    assert _picture_steps(tmp_path / "run") == list(range(0, 7, step))
    assert_same_run(tmp_path / "run", straight)


def _validator(config: TrainConfig) -> Validator:
    train, val = (open_stream(config, split=split) for split in ("train", "val"))
    return Validator(config, train=train, val=val)


def test_a_voxel_budget_does_not_change_the_validation(shards: Path, tmp_path: Path) -> None:
    config = _config(shards, tmp_path / "run")
    learner = Learner(config, device=torch.device("cpu"))
    sizes = [b.num_voxels for b in open_stream(config, split="val").sequential(1)]
    expected = _validator(config).measure(learner)
    for budget in (max(sizes), sum(sizes) // 3):  # no batch of the split is whole
        found = _validator(dataclasses.replace(config, voxel_budget=budget)).measure(learner)
        for name in ("val_loss", "val_alignment", "val_uniformity"):
            assert found[name] == pytest.approx(expected[name], rel=1e-4)


def test_evaluations_take_a_sample_of_the_whole_split(tmp_path: Path) -> None:
    counts = {"train": 500, "val": 200}
    shards = make_shards(tmp_path / "shards", counts, in_order=True)
    config = _config(shards, tmp_path / "run", eval_particles=50)
    validator = _validator(config)
    # Of the first 50, each of one class, the majority would be all.
    row = validator.measure(Learner(config, device=torch.device("cpu")))
    assert 0.1 < row["val_majority_accuracy"] < 0.5
    assert row == validator.measure(Learner(config, device=torch.device("cpu")))


def test_memory_is_counted_by_what_is_kept(shards: Path, tmp_path: Path) -> None:
    config = _config(shards, tmp_path / "run")
    learner = Learner(config, device=torch.device("cpu"))
    batch = next(open_stream(config, split="train").batches(0))
    whole = saved_bytes(learner, batch)
    pieces = [saved_bytes(learner, piece) for piece in batch.split(6)]
    assert whole == pytest.approx(sum(pieces), rel=0.2)
    lines = describe(config).splitlines()
    assert lines[0].startswith("model      atto: ")
    assert any("4 of 24 particles an epoch, 6 steps in all" in line for line in lines)
    assert not (tmp_path / "run").exists()


def test_weights_of_another_shape_are_refused_by_name() -> None:
    config = TrainConfig(shards="shards", out="run", model="atto")
    learner = Learner(config, device=torch.device("cpu"))
    weights = dict(learner.model.state_dict())
    weights["encoder.neck.weight"] = weights["encoder.neck.weight"][:, 1:]
    state = {"model": weights, "encoder": learner.describe()}
    with pytest.raises(CheckpointError, match=r"old\.pt.*another model.*encoder\.neck\.weight"):
        load_weights(learner, state, file="old.pt")


@pytest.mark.parametrize(("before", "after"), [(None, "16"), ("64", "64")])
def test_what_onednn_keeps_is_bounded_unless_the_user_says_otherwise(
    monkeypatch: pytest.MonkeyPatch, before: str | None, after: str
) -> None:
    name = "ONEDNN_PRIMITIVE_CACHE_CAPACITY"
    monkeypatch.setenv(name, before or "")
    if before is None:
        monkeypatch.delenv(name)
    Learner(TrainConfig(shards="shards", out="run", model="zepto"), device=torch.device("cpu"))
    assert os.environ[name] == after
