"""The command clr-train: killed and resumed, stopped by signals, and errors in one line."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
import torch
import zarr
from click.testing import CliRunner, Result

from clr_train.cli import train_command
from clr_train.config import TrainConfig, read_config
from clr_train.site_keys import MAX_KERNEL
from clr_train.training.checkpoint import find_checkpoint, load_checkpoint, save_checkpoint
from clr_train.training.run_folder import RunFolder
from pilarnet_convert.shards.format import attributes_checksum
from tests.clr_train.species import make_shards
from tests.clr_train.test_train import assert_same_run, distance, first_gradient, read_metrics

OPTIONS = [
    "--model=atto",
    "--batch-size=24",
    "--epochs=3",
    "--checkpoint-every=3",
    "--eval-every=6",
    "--device=cpu",
    "--drop-path=0.2",
    "--no-final-probe",
]

#: The environment of a process whose sums are those of this one with one thread.
ONE_THREAD: Final = os.environ | {"OMP_NUM_THREADS": "1"}


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("cli") / "shards"
    return make_shards(path, {"train": 100, "val": 40, "test": 40})


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(train_command, [str(argument) for argument in arguments])


#: Runs clr-train, killed after the metrics of step 4.
_KILLED: Final = """
import os
import signal
from clr_train.cli import train_command
from clr_train.training.run_folder import RunFolder

log = RunFolder.log

def log_and_die(folder, row):
    log(folder, row)
    if row["step"] == 4:
        os.kill(os.getpid(), signal.SIGKILL)

RunFolder.log = log_and_die
train_command()
"""


def test_killed_in_mid_epoch_and_resumed_it_is_the_same_run(shards: Path, tmp_path: Path) -> None:
    torch.set_num_threads(1)
    straight = _invoke("--shards", shards, "--out", tmp_path / "straight", *OPTIONS)
    assert straight.exit_code == 0, straight.output
    out = tmp_path / "killed"
    arguments = ["--shards", str(shards), "--out", str(out), *OPTIONS]
    killed = subprocess.run([sys.executable, "-c", _KILLED, *arguments], env=ONE_THREAD)
    assert killed.returncode == -signal.SIGKILL
    assert find_checkpoint(out).name == "step-00000003.pt"
    # Only the folder is given again: the rest is read from the run.
    done = _invoke("--out", out, "--resume")
    assert done.exit_code == 0, done.output
    assert "continuing from" in done.stdout
    assert_same_run(out, tmp_path / "straight", step=12)


def test_torchrun_starts_two_processes_that_train_as_one(shards: Path, tmp_path: Path) -> None:
    options = ["--shards", str(shards), *OPTIONS, "--max-steps=3", "--eval-every=2", "--lr=1e-4"]
    options += ["--warmup=0", "--final-lr=1", "--checkpoint-every=1"]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*torchrun, "-m", "clr_train", *options, "--out", str(tmp_path / "two")],
        capture_output=True,
        text=True,
        timeout=120,
        env=ONE_THREAD,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("linear") == 3  # validated by one of the two, at steps 0, 2 and 3
    assert _invoke(*options, "--out", tmp_path / "one").exit_code == 0
    two, one = tmp_path / "two", tmp_path / "one"
    found, expected = first_gradient(two), first_gradient(one)
    assert float((found - expected).norm() / expected.norm()) < 1e-5
    # AdamW divides by the gradient's size: rounding moves weights that hardly matter by a step.
    config = TrainConfig.from_dict(read_config(one / "config.toml"))
    assert distance(two, one, config) < 0.02
    for rows in zip(read_metrics(one), read_metrics(two), strict=True):
        for name in ("step", "epoch", "particles", "loss", "gradient_norm", "val_loss"):
            first, second = (float(row[name] or "nan") for row in rows)
            assert second == pytest.approx(first, rel=1e-3, nan_ok=True)
    kept = [sorted(path.name for path in (run / "checkpoints").iterdir()) for run in (one, two)]
    assert kept[0] == kept[1]


@pytest.mark.parametrize(
    ("number", "code", "workers"), [(signal.SIGTERM, 143, 0), (signal.SIGINT, 130, 1)]
)
def test_a_signal_ends_the_run_with_a_checkpoint(
    shards: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    number: signal.Signals,
    code: int,
    workers: int,
) -> None:
    log = RunFolder.log

    def log_and_stop(self: RunFolder, row: dict[str, float]) -> None:
        log(self, row)
        if row["step"] == 4:
            # To the processes that read too, as a terminal and a batch system do.
            for child in multiprocessing.active_children():
                assert child.pid is not None
                os.kill(child.pid, number)
            os.kill(os.getpid(), number)

    monkeypatch.setattr(RunFolder, "log", log_and_stop)
    options = [*OPTIONS, f"--workers={workers}", "--out", tmp_path / "run"]
    done = _invoke("--shards", shards, *options)
    assert done.exit_code == code, done.output
    assert "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith(f"stopped by {number.name}; kept ")
    assert line.endswith("; continue with --resume")
    kept = max((tmp_path / "run/checkpoints").glob("step-*.pt"))
    assert str(kept) in line
    assert load_checkpoint(kept)["step"] == 5


def test_a_preset_gives_values_that_flags_win_over(shards: Path, tmp_path: Path) -> None:
    options = ["--augmentations-preset=paper-tuned", "--recipe=paper", "--model=atto"]
    options += ["--batch-size=24", "--jitter-voxels=0.1", "--max-steps=2", "--no-final-probe"]
    done = _invoke("--shards", shards, "--out", tmp_path / "run", *options)
    assert done.exit_code == 0, done.output
    state = load_checkpoint(tmp_path / "run/checkpoints/step-00000002.pt")["config"]
    assert state == TrainConfig.from_dict(read_config(tmp_path / "run/config.toml")).to_dict()
    assert state["augmentations"][-1] == "shift-energy-normal"
    found = [state[n] for n in ("draw", "scale_energy_sigma", "jitter_voxels", "batch_size", "lr")]
    assert found == ["with-replacement", 0.25, 0.1, 24, 1e-4]


@pytest.mark.parametrize(
    ("flag", "said"),
    [
        ("--augmentations=spin", "--augmentations: unusable value (expected one of throw, "),
        ("--augmentations-preset=best", "'best' is not one of 'original', 'paper-standard'"),
        ("--recipe=cake", "'cake' is not 'paper'"),
        ("--drift-axis=t", "'t' is not one of 'x', 'y', 'z'"),
    ],
)
def test_an_unknown_name_is_wrong_usage(shards: Path, flag: str, said: str) -> None:
    found = _invoke("--shards", shards, flag)
    assert found.exit_code == 2
    assert said in found.stderr
    assert "num-augmentations" not in found.stderr


def test_flags_win_over_the_file(shards: Path, tmp_path: Path) -> None:
    file = tmp_path / "options.toml"
    file.write_text(
        f'shards = "{shards}"\nmodel = "atto"\nbatch-size = 50\nclasses = ["muon", "proton"]\n'
        "max-steps = 1\nfinal-probe = false\nseed = 7\n"
    )
    done = _invoke("--config", file, "--out", tmp_path / "run", "--seed", "9", "--batch-size=20")
    assert done.exit_code == 0, done.output
    config = TrainConfig.from_dict(read_config(tmp_path / "run/config.toml"))
    assert (config.seed, config.batch_size, config.classes) == (9, 20, ("muon", "proton"))
    assert config.max_steps == 1
    assert "train: 100 of 100" not in done.stdout  # the classes were filtered


def test_a_dry_run_trains_nothing(shards: Path, tmp_path: Path) -> None:
    done = _invoke("--shards", shards, "--out", tmp_path / "run", *OPTIONS, "--dry-run")
    assert done.exit_code == 0, done.output
    for word in ("parameters", "engine torch", "4 of 24 particles an epoch", "MiB"):
        assert word in done.stdout
    assert not (tmp_path / "run").exists()


def test_help_shows_every_option_and_examples() -> None:
    text = _invoke("--help").output
    for field in TrainConfig.__dataclass_fields__:
        assert "--" + field.replace("_", "-") in text
    assert "torchrun --nproc-per-node" in text
    assert "143 by SIGTERM" in text


def _one_line(result: Result, *, code: int = 1) -> str:
    assert result.exit_code == code, result.output
    assert "Traceback" not in result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_shards_that_cannot_be_read(shards: Path, tmp_path: Path) -> None:
    def line_of(path: Path) -> str:
        return _one_line(_invoke("--shards", path, "--out", tmp_path / "run", *OPTIONS))

    assert f"{tmp_path / 'none'}: no such folder" in line_of(tmp_path / "none")
    (tmp_path / "empty").mkdir()
    assert "holds no shards" in line_of(tmp_path / "empty")

    for attribute, value in (("format", "other"), ("version", 1)):
        changed = tmp_path / attribute
        shutil.copytree(shards, changed)
        zarr.open_group(changed, mode="r+").attrs[attribute] = value
        assert f"{attribute} {value}" in line_of(changed)

    damaged = tmp_path / "damaged"
    shutil.copytree(shards, damaged)
    for part in (damaged / "train/00000/energy").rglob("*"):
        if part.is_file() and part.name != "zarr.json":
            data = bytearray(part.read_bytes())
            data[len(data) // 3] ^= 0xFF
            part.write_bytes(data)
    line = line_of(damaged)
    assert "train/00000" in line
    assert "energy" in line
    assert not (tmp_path / "run/checkpoints").exists() or not os.listdir(
        tmp_path / "run/checkpoints"
    )


def test_event_cubes_that_are_too_large(shards: Path, tmp_path: Path) -> None:
    large = Path(shutil.copytree(shards, tmp_path / "large"))
    group = zarr.open_group(large, mode="r+")
    attributes = {
        **group.attrs,
        "geometry": [{"voxels": [10, 32_738, 1], "voxel_size_cm": [1] * 3}],
    }
    group.attrs.update({**attributes, "checksum": attributes_checksum(attributes)})
    line = _one_line(_invoke("--shards", large, "--out", tmp_path / "run", *OPTIONS))
    assert line == (
        f"error: {large}: event cubes too large for the sparse network (expected at most 32737 "
        "voxels a side, found 32738); convert events of larger voxels"
    )
    assert not (tmp_path / "run").exists()


def test_a_run_that_is_not_there(tmp_path: Path) -> None:
    line = _one_line(_invoke("--resume", "--out", tmp_path / "none"), code=2)
    assert f"no run to continue in --out {tmp_path / 'none'}; name its folder" in line


def test_a_split_without_particles(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", {"train": 60, "val": 10})
    options = ["--shards", shards, "--out", tmp_path / "run", "--model=atto", "--max-steps=1"]
    line = _one_line(_invoke(*options, "--split=test"))
    assert "no particles in the split" in line
    line = _one_line(_invoke(*options, "--val-split=dev"), code=2)
    assert "--val-split: 'dev' is not one of 'train', 'val', 'test'" in line
    assert not (tmp_path / "run").exists()


def test_what_cannot_be_judged_is_said_and_the_batch_is_cut(tmp_path: Path) -> None:
    shards = make_shards(tmp_path / "shards", {"train": 61})
    options = ["--shards", shards, "--out", tmp_path / "run", "--model=atto", "--epochs=2"]
    planned = _invoke(*options, "--dry-run")
    done = _invoke(*options)
    assert (planned.exit_code, done.exit_code) == (0, 0), done.output
    lines = [
        "train: the batch of 256 particles is cut to 61, as an epoch has no more",
        "val: no particles, so there is no validation: no loss, no probes or pictures during "
        "training, and no best checkpoint, only the last ones",
        "test: no particles, so there is no final probe",
    ]
    for line in lines:
        assert line in done.stdout.splitlines()
        assert line in planned.stdout
        assert line in (tmp_path / "run/log.txt").read_text()
    assert "batches    1 of 61 particles an epoch, 2 steps in all" in planned.stdout
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()] == ["step-00000002.pt"]
    assert find_checkpoint(tmp_path / "run").name == "step-00000002.pt"
    assert [row["particles"] for row in read_metrics(tmp_path / "run")] == ["61", "61"]


def test_a_checkpoint_of_another_model_or_version(shards: Path, tmp_path: Path) -> None:
    options = [*OPTIONS, "--shards", shards, "--out", tmp_path / "run", "--max-steps=1"]
    assert _invoke(*options).exit_code == 0
    line = _one_line(_invoke(*options, "--resume", "--model=femto"))
    assert "the checkpoint is of another model (expected atto, found femto)" in line

    path = tmp_path / "run/checkpoints/step-00000001.pt"
    state: dict[str, Any] = load_checkpoint(path)
    torch.save(state | {"version": 99}, path)
    line = _one_line(_invoke(*options, "--resume"))
    assert "another version (expected 1, found 99)" in line

    del state["format"], state["version"]
    save_checkpoint(path, state=state)
    path.write_bytes(path.read_bytes()[:-100])
    line = _one_line(_invoke(*options, "--resume"))
    assert "cannot be read as a checkpoint" in line


def test_an_output_folder_in_use(shards: Path, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("")
    line = _one_line(_invoke("--shards", shards, "--out", tmp_path, *OPTIONS))
    assert "the output folder is in use" in line
    assert os.listdir(tmp_path) == ["notes.txt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is there")
def test_cuda_asked_for_and_absent(shards: Path, tmp_path: Path) -> None:
    arguments = ["--shards", shards, "--out", tmp_path / "run", *OPTIONS, "--device=cuda"]
    assert "CUDA is not available" in _one_line(_invoke(*arguments), code=2)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("argument", "message", "code"),
    [
        ("--device=tpu", "--device: unknown device (expected auto, cpu, cuda or cuda:N, found", 2),
        ("--model=huge", "--model: unknown model (expected one of small,", 2),
        ("--augmentations=rotate,blur", "found blur", 2),
        ("--classes=kaon", "--classes: unusable value (expected one of electron,", 2),
        ("--batch-size=1", "--batch-size: unusable value (expected at least 2, found 1)", 2),
        ("--config=none.toml", "none.toml: --config: no such file", 2),
        (
            "--config=.",
            ".: --config: cannot be read (expected a TOML file, found Is a directory)",
            2,
        ),
        ("--kernel-size=4", "--kernel-size: unusable value (expected odd, found 4)", 2),
        ("--kernel-size=99", f"--kernel-size: unusable value (expected at most {MAX_KERNEL},", 2),
        (
            "--translate-voxels=1e30",
            "--translate-voxels: unusable value (expected at most 10000",
            2,
        ),
        ("--smear-energy-mev=1e39", "--smear-energy-mev: unusable value (expected at most 1000", 2),
        ("--noise-energy-mev=1e300", "--noise-energy-mev: unusable value (expected at most", 2),
        ("--lr=inf", "--lr: unusable value (expected at most 10, found inf)", 2),
    ],
)
def test_options_that_cannot_be_used(
    shards: Path, tmp_path: Path, argument: str, message: str, code: int
) -> None:
    out = ["--shards", shards, "--out", tmp_path / "run", "--num-augmentations=1"]
    assert message in _one_line(_invoke(*out, "--batch-size=24", argument), code=code)
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "Missing option '--shards'"),
        (["--shards=s", "--engine=spconv"], "'spconv' is not one of 'auto', 'minkowski', 'torch'"),
        (["--shards=s", "--batch-size=many"], "'many' is not a valid integer"),
        (["--shards=s", "--resume", "--overwrite"], "exclude each other"),
    ],
)
def test_wrong_usage(arguments: list[str], message: str) -> None:
    result = _invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
