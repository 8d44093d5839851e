"""A study of few particles: computed, continued, in parts; its metrics; errors in one line."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from click.testing import CliRunner, Result

from clr_eval.corruptions import CORRUPTIONS
from clr_eval.embedding.split import LoadedSplit, read_split
from clr_eval.study import results as results_module
from clr_eval.study.cli import study_command
from clr_eval.study.config import Domain, read_study
from clr_eval.study.domains import load_domain
from clr_eval.study.groups import list_groups
from clr_eval.study.methods import STUDY_METHODS
from clr_eval.study.metrics import (
    direction_angle,
    domain_auc,
    energy_r2,
    match_particles,
    stability,
)
from clr_eval.study.results import StudyResults
from clr_train.batch import ParticleBatch
from clr_train.presets import AUGMENTATION_PRESETS
from clr_train.training import recorder as recorder_module
from clr_train.training.checkpoint import load_checkpoint
from pilarnet_convert import open_shards
from tests.clr_train.species import make_shards

TOML = """
nominal = "{nominal}"
target = "{target}"
methods = [{methods}]
label-counts = [20, "all"]
seeds = [0, 1]
resamples = 5
[domains.nominal]
shards = "{nominal}"
[domains.short-lifetime]
shards = "{nominal}"
throw = "throw-8"
[domains.noise]
shards = "{nominal}"
corruption = "noise"
level = 0.2
[domains.other]
shards = "{target}"
[train]
model = "zepto"
batch-size = 16
max-steps = 2
augmentations-preset = "original"
eval-particles = 30
[fit]
epochs = 1
min-steps = 2
"""


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    path = tmp_path_factory.mktemp("study")
    sizes = {"train": 60, "val": 20, "test": 30}
    return make_shards(path / "nominal", sizes), make_shards(path / "target", sizes)


def _write(
    path: Path, folders: tuple[Path, Path], methods: tuple[str, ...] = tuple(STUDY_METHODS)
) -> Path:
    nominal, target = folders
    listed = ", ".join(f'"{name}"' for name in methods)
    path.write_text(TOML.format(nominal=nominal, target=target, methods=listed))
    return path


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(study_command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module", autouse=True)
def _coarse() -> Any:
    patch = pytest.MonkeyPatch()
    patch.setattr("pilarnet_convert.pictures._DPI", 30)
    torch.set_num_threads(1)
    yield
    patch.undo()


def test_a_study_is_computed_once(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    methods = ("simclr-nominal", "finetuned", "supervised-both", "dann", "handcrafted")
    study = _write(tmp_path / "study.toml", folders, methods)
    out = tmp_path / "out"
    # In two parts, as array jobs do it, then as a whole, which has nothing left to train.
    for part in ("1/2", "2/2"):
        done = _invoke(study, "--out", out, "--part", part)
        assert done.exit_code == 0, done.output
    assert not (out / "report.json").exists()
    monkeypatch.setattr(results_module, "pretrain", lambda *_a, **_k: pytest.fail("trained again"))
    monkeypatch.setattr(results_module, "fit_probe", lambda *_a, **_k: pytest.fail("fitted again"))
    whole = _invoke(study, "--out", out)
    assert whole.exit_code == 0, whole.output
    assert "nothing is missing" in whole.stdout
    log = (out / "log.txt").read_text()
    for said in ("command: ", "about ", "nothing is missing"):
        assert said in log
    report = json.loads((out / "report.json").read_text())
    assert list(report["results"]) == ["20", "all"]
    label = read_split(folders[0], split="train").label
    share = np.rint(np.bincount(label, minlength=5) / len(label) * 20)  # at least 1 of each class
    assert report["num_labels"] == {"20": np.maximum(share, 1).sum(), "all": len(label)}
    assert list(report["results"]["all"]) == list(methods)
    for metrics in report["results"]["all"].values():
        assert list(metrics) == ["nominal", "short-lifetime", "noise", "other"]
        assert len(metrics["other"]["balanced_accuracy"]["seeds"]) == 2
        assert metrics["nominal"]["difference"]["value"] == 0
    kept = report["stability"]["simclr-nominal"]["short-lifetime"]
    assert kept["particles"] == report["domains"]["nominal"]
    assert 0 < kept["cosine"] <= 1 + 1e-6
    text, page = (out / "report.md").read_text(), (out / "report.html").read_text()
    for name in methods:
        assert STUDY_METHODS[name].title in text
        assert STUDY_METHODS[name].title in page
    figures = {"domains", "labels", "stability", "map", *(f"confusion-{n}" for n in methods)}
    for name in figures:
        assert f"({name}.png)" in text
        for ending in ("png", "pdf"):
            assert (out / f"{name}.{ending}").stat().st_size > 0


def test_a_pretraining_that_was_stopped_is_not_taken_for_done(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _write(tmp_path / "study.toml", folders, ("simclr-nominal",))
    begin = recorder_module.Recorder.begin

    def begin_and_be_stopped(recorder: Any) -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        begin(recorder)

    with monkeypatch.context() as patch:
        patch.setattr(recorder_module.Recorder, "begin", begin_and_be_stopped)
        done = _invoke(study, "--out", tmp_path / "out")
    assert done.exit_code == 143
    assert done.stderr.splitlines()[-1] == "stopped by SIGTERM; what was finished is kept"
    (run,) = (tmp_path / "out/runs").iterdir()
    assert not (run / "done").exists()


@pytest.mark.parametrize("replaced", ["nominal", "target"])
def test_replaced_shards_are_learnt_anew(tmp_path: Path, replaced: str) -> None:
    sizes = {"train": 40, "val": 10, "test": 20}
    nominal, target = (make_shards(tmp_path / name, sizes) for name in ("nominal", "target"))
    study = _write(tmp_path / "study.toml", (nominal, target), ("simclr-both",))

    def trained_on() -> set[str]:
        StudyResults(read_study(study), out=tmp_path).result("simclr-both", seed=0)
        runs = (tmp_path / "runs").iterdir()
        return {load_checkpoint(run)["stream"]["shards"] for run in runs}

    def identities() -> str:
        return " and ".join(open_shards(path).identity for path in (nominal, target))

    first = identities()
    assert trained_on() == trained_on() == {first}
    shutil.rmtree(tmp_path / replaced)
    make_shards(tmp_path / replaced, sizes, seed=1)
    assert trained_on() == {first, identities()}


def test_sets_without_a_validation_split(tmp_path: Path) -> None:
    folder = make_shards(tmp_path / "shards", {"train": 40, "val": 0, "test": 20})
    study = read_study(_write(tmp_path / "study.toml", (folder, folder), ("simclr-nominal",)))
    found = StudyResults(study, out=tmp_path).result("simclr-nominal", seed=0)
    assert found["nominal/0"].shape == (20, 5)


def test_a_part_that_another_process_computes(folders: tuple[Path, Path], tmp_path: Path) -> None:
    study, out = _write(tmp_path / "study.toml", folders, ("handcrafted",)), tmp_path / "out"
    out.mkdir()
    with (out / ".lock-1-of-2").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused, other = (_invoke(study, "--out", out, "--part", f"{n}/2") for n in (1, 2))
    assert refused.exit_code == 1
    assert f"{out}: --out: another process is writing into this folder" in refused.stderr
    assert other.exit_code == 0


def test_the_folder_of_something_else_is_refused(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    study = _write(tmp_path / "study.toml", folders, ("handcrafted",))
    for number, names in enumerate(
        [
            ["notes.txt"],
            [".lock", "log.txt", "config.toml", "checkpoints/best.pt"],  # of clr-train
            [".lock", "log.txt", "results/a.npz"],  # of clr-eval
            ["results/a.npz", "report.json"],  # of clr-eval, finished
        ]
    ):
        out = tmp_path / str(number)
        for name in names:
            (out / name).parent.mkdir(exist_ok=True, parents=True)
            (out / name).write_text('{"format": "pilarnet-clr-report"}')
        before = sorted(out.rglob("*"))
        refused = _invoke(study, "--out", out)
        assert refused.exit_code == 1
        assert "the output folder is in use" in refused.stderr
        assert sorted(out.rglob("*")) == before
    interrupted = tmp_path / "interrupted"
    for name in (".lock-1-of-1", "log.txt", "runs/dann-seed0-0/log.txt"):
        (interrupted / name).parent.mkdir(exist_ok=True, parents=True)
        (interrupted / name).touch()
    assert _invoke(study, "--out", interrupted, "--part", "1/9").exit_code == 0


def test_a_domain_without_particles_is_found_before_training(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    empty = make_shards(tmp_path / "empty", {"train": 20})
    monkeypatch.setattr(results_module, "pretrain", lambda *_a, **_k: pytest.fail("trained"))
    study = _write(tmp_path / "study.toml", (folders[0], empty), ("simclr-nominal",))
    found = _invoke(study, "--out", tmp_path / "out")
    assert found.exit_code == 1
    assert "no particles in the split" in found.stderr


def test_the_largest_number_of_labels_is_the_last(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    study = _write(tmp_path / "study.toml", folders)
    study.write_text(study.read_text().replace('[20, "all"]', '["all", 50, 20]'))
    assert read_study(study).label_counts == (20, 50, None)


def test_methods_that_share_a_pretraining_are_one_group(
    folders: tuple[Path, Path], tmp_path: Path
) -> None:
    config = read_study(_write(tmp_path / "study.toml", folders))
    groups = list_groups(config)
    assert len({(group.name, group.seed) for group in groups}) == len(groups)
    methods = [(name, group.seed) for group in groups for name in group.methods]
    assert sorted(methods) == sorted((n, s) for n in STUDY_METHODS for s in (0, 1))
    assert ("simclr-nominal", "finetuned") in {group.methods for group in groups}


def test_a_dry_run_says_what_a_study_takes(
    folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    study = _write(tmp_path / "study.toml", folders, ("simclr-both", "finetuned", "handcrafted"))
    said = _invoke(study, "--out", tmp_path / "out", "--dry-run")
    assert said.exit_code == 0
    *lines, time = said.stdout.splitlines()
    assert re.match(r"  about \d+ min for what is missing", time)
    assert lines == [
        "6 runs, seeds 0, 1",
        "  2 x simclr-both: pretraining, 2 steps of two views; SimCLR on both, linear probe",
        # 20 labels and all 60: two steps at least, or one epoch in batches of 128 at most.
        "  2 x simclr-nominal: pretraining, 2 steps of two views; SimCLR on nominal, fine-tuned, "
        "4 steps of one view",
        "  2 x handcrafted: handcrafted features, boosted trees",
        "  labels: 20, all; domains: nominal, short-lifetime, noise, other",
    ]
    assert not (tmp_path / "out").exists()
    study.write_text(
        study.read_text().replace("batch-size = 16\nmax-steps = 2", "batch-size = 999")
    )
    said = _invoke(study, "--out", tmp_path / "out", "--dry-run")
    assert "simclr-nominal: pretraining, 20 steps of two views" in said.stdout  # one each epoch
    monkeypatch.setattr("clr_eval.study.study.seconds_per_cost", lambda _config: 10.0)
    long = _invoke(study, "--out", tmp_path / "out", "--dry-run").stdout.splitlines()[-1]
    assert re.match(r"  about \d+ h \d+ min .*; fewer methods, seeds or label-counts", long)


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (
            'methods = ["dann"]',
            'methods = ["magic"]',
            "methods: unusable value",
        ),
        ("target =", "# target =", "target: the method dann needs a target"),
        ('throw = "throw-8"', 'throw = "throw-18"', "domains.short-lifetime.throw: unusable value"),
        ('throw = "throw-8"', 'drift-axis = "t"', "expected one of x, y, z, found t"),
        ("[train]", 'split = "all"\n[train]', "domains.other.split: unusable value"),
        ('[domains.other]\nshards = "', '[domains.other]\n# "', "domains.other.shards: missing"),
        ('corruption = "noise"', 'corruption = "fog"', "domains.noise.corruption: unusable value"),
        ("level = 0.2", "level = -1", "noise.level: unusable value (expected 0 to 10 for noise"),
        ("level = 0.2", "", "domains.noise.level: corruption and level must be given together"),
        ("level = 0.2", 'level = 0.2\nrotate = "yes"', "domains.noise.rotate: unusable value"),
        ("seeds", "sedes", "sedes: unknown key"),
        ("seeds = [0, 1]", "seeds = 1", "seeds: unusable value"),
        ("seeds = [0, 1]", "seeds = [-1]", "seeds: unusable value"),
        ("seeds = [0, 1]", "seeds = []", "seeds: unusable value (expected one value or more"),
        ("resamples = 5", 'resamples = "few"', "resamples: unusable value"),
        ("[domains.other]", "[domains]\nx = 1\n[domains.other]", "domains.x: unusable value"),
        ("[20,", "[2,", "label-counts: unusable value"),
        ('preset = "original"', 'preset = "best"', "train.augmentations-preset: unusable value"),
        ("batch-size = 16", "batch-size = 1", "train.batch-size: unusable value"),
        ("batch-size = 16", 'batch-size = "big"', "expected a whole number, found big"),
        ("batch-size = 16", "batch-size = [16]", "train.batch-size: unusable value"),
        ("batch-size = 16", "bach-size = 1", "train.bach-size: unknown key"),
        ("batch-size = 16", "seed = 1", "train.seed: set for each run; leave it out"),
        ("min-steps", "max-steps", "fit.max-steps: unknown key"),
        ("nominal = ", "nominal ", "not a TOML file"),
    ],
)
def test_a_study_that_cannot_be_is_refused_in_a_line(
    folders: tuple[Path, Path], tmp_path: Path, before: str, after: str, said: str
) -> None:
    study = _write(tmp_path / "study.toml", folders, ("dann",))
    text = study.read_text()
    assert before in text
    study.write_text(text.replace(before, after, 1))
    found = _invoke(study, "--out", tmp_path / "out")
    assert found.exit_code == 2, found.output
    assert said in found.stderr
    assert len(found.stderr.splitlines()) == 1


def test_the_study_of_the_documentation_is_one(tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs/study.md").read_text()
    (text,) = re.findall(r"```toml\n(.*?)```", page, flags=re.DOTALL)
    (tmp_path / "study.toml").write_text(text)
    config = read_study(tmp_path / "study.toml")
    assert config.train.augmentations == AUGMENTATION_PRESETS["detector"]["augmentations"]
    assert config.domains["short-lifetime"].throw == "throw-8"
    for name in (*STUDY_METHODS, *CORRUPTIONS):
        assert f"| `{name}` |" in page
    whole = read_study(Path(__file__).parents[2] / "docs/study.toml")
    assert list(whole.domains)[:2] == ["nominal", "shifted"]
    assert whole.seeds == (0, 1, 2)


def test_shards_that_are_not_there_are_named(folders: tuple[Path, Path], tmp_path: Path) -> None:
    study = _write(tmp_path / "study.toml", (folders[0], tmp_path / "nowhere"), ("dann",))
    found = _invoke(study, "--out", tmp_path / "out")
    assert found.exit_code == 1
    assert "nowhere" in found.stderr
    assert len(found.stderr.splitlines()) == 1


# --- metrics, of made-up results


def _split(folders: tuple[Path, Path]) -> LoadedSplit:
    return read_split(folders[0], split="test")


def test_a_domain_is_what_its_keys_say(folders: tuple[Path, Path]) -> None:
    plain = load_domain(Domain(shards=str(folders[0])))
    stored = _split(folders).batch
    assert torch.equal(plain.batch.xyz, stored.xyz)
    assert torch.equal(plain.batch.energy, stored.energy)
    thrown = load_domain(Domain(shards=str(folders[0]), throw="throw-8")).batch
    noisy = load_domain(Domain(shards=str(folders[0]), corruption="noise", level=0.5)).batch
    turned = load_domain(Domain(shards=str(folders[0]), rotate=True)).batch
    assert thrown.energy.sum() < 0.99 * stored.energy.sum()
    assert noisy.num_voxels > 1.3 * stored.num_voxels
    energies = turned.index.sum(turned.energy, dim=-1)
    torch.testing.assert_close(energies, stored.index.sum(stored.energy, dim=-1))
    ends = [b.index.max(b.xyz.T.float().contiguous(), dim=-1) for b in (turned, stored)]
    assert not torch.equal(*ends)
    for batch in (thrown, noisy, turned):
        assert torch.equal(batch.particle, stored.particle)


def test_particles_are_matched_by_event_and_track(folders: tuple[Path, Path]) -> None:
    first = _split(folders)
    first.columns["track_id"] = np.arange(len(first))
    order = np.random.default_rng(0).permutation(len(first))[:20]
    second = LoadedSplit(
        batch=first.take(order), columns={n: v[order] for n, v in first.columns.items()}
    )
    rows, others = match_particles(first, second)
    assert len(rows) == 20
    assert np.array_equal(rows, order[others])
    # Not where a track is unknown, or where the numbers are those of several particles.
    second.columns["track_id"][:4] = [-1, -1, first.columns["track_id"][order[5]], 10_000]
    rows, others = match_particles(first, second)
    assert sorted(others) == [4, *range(6, 20)]
    assert np.array_equal(rows, order[others])


def test_the_same_particles_are_matched_whatever_is_not_known_of_them(tmp_path: Path) -> None:
    sizes = {"train": 1, "test": 20}
    shards = make_shards(tmp_path, sizes, track_id=-1, energy_init=np.nan, energy_deposit=np.nan)
    first, second = (read_split(shards, split="test") for _ in range(2))
    assert [rows.tolist() for rows in match_particles(first, second)] == [list(range(20))] * 2


def test_stability_of_known_probabilities(folders: tuple[Path, Path]) -> None:
    split = _split(folders)
    number = len(split)
    before = np.full((number, 5), 0.1)
    before[np.arange(number), split.label] = 0.6
    after = before.copy()
    after[np.arange(number), split.label] = 0.3
    result = {
        "a/0": before,
        "b/0": after,
        "a/features": np.tile([1.0, 0.0], (number, 1)),
        "b/features": np.tile([1.0, 1.0], (number, 1)),
    }
    domains = {"a": split, "b": split}
    found = stability([result], reference="a", domain="b", domains=domains, count=None)
    assert found is not None
    assert found["probability"] == pytest.approx(0.3)
    assert found["same_class"] == 1
    assert found["cosine"] == pytest.approx(np.sqrt(0.5))


def test_domains_that_differ_are_told_apart() -> None:
    generator = np.random.default_rng(0)
    same = generator.normal(size=(400, 3))
    result = {"a/features": same, "b/features": generator.normal(size=(400, 3))}
    assert domain_auc([result], reference="a", domain="b") == pytest.approx(0.5, abs=0.1)
    result["b/features"] = same + np.array([3.0, 0.0, 0.0])
    assert domain_auc([result], reference="a", domain="b") > 0.95
    assert domain_auc([result | {"b/features": same[:1]}], reference="a", domain="b") is None


def test_an_energy_that_a_feature_holds_is_read(folders: tuple[Path, Path]) -> None:
    train, test = read_split(folders[0], split="train"), _split(folders)
    generator = np.random.default_rng(0)
    energies = [generator.lognormal(3.0, 1.0, len(split)) for split in (train, test)]
    for split, energy in zip((train, test), energies, strict=True):
        split.columns["energy_deposit"] = energy
    held = [np.column_stack([np.log(e), generator.normal(size=len(e))]) for e in energies]
    result = {"train_features": held[0], "a/features": held[1]}
    assert energy_r2(result, train=train, domains={"a": test})["a"]["features"] > 0.99
    noise = {name: generator.normal(size=v.shape) for name, v in result.items()}
    assert energy_r2(noise, train=train, domains={"a": test})["a"]["features"] < 0.3
    for energy in (np.nan, 30.0):  # not known, or the same of all
        test.columns["energy_deposit"] = np.full(len(test), energy)
        assert energy_r2(result, train=train, domains={"a": test}) == {}


def test_a_direction_that_features_hold_is_read(folders: tuple[Path, Path]) -> None:
    train, test = read_split(folders[0], split="train"), _split(folders)
    generator = np.random.default_rng(0)
    momenta = [generator.normal(size=(len(split), 3)) for split in (train, test)]
    for split, momentum in zip((train, test), momenta, strict=True):
        split.columns["momentum"] = momentum
    held = [m / np.linalg.norm(m, axis=1, keepdims=True) for m in momenta]
    result = {"train_features": held[0], "a/features": held[1]}
    assert direction_angle(result, train=train, domains={"a": test})["a"]["features"] < 2
    noise = {name: generator.normal(size=v.shape) for name, v in result.items()}
    assert direction_angle(noise, train=train, domains={"a": test})["a"]["features"] > 45
    test.columns["momentum"] = np.full_like(momenta[1], np.nan)
    assert direction_angle(result, train=train, domains={"a": test}) == {}


def test_the_principal_axis_is_the_direction_of_a_track() -> None:
    steps = torch.arange(10, dtype=torch.int32)[:, None]
    along = torch.tensor([[1, 1, 0], [0, -1, 0]], dtype=torch.int32)
    batch = ParticleBatch(
        xyz=torch.cat([50 + steps * a for a in along]),
        energy=torch.arange(1.0, 11.0).repeat(2),
        offset=torch.tensor([0, 10, 20]),
        label=torch.tensor([0, 1]),
        particle=torch.tensor([0, 1]),
    )
    split = LoadedSplit(batch=batch, columns={"momentum": 3.0 * along.numpy()})
    result = {"train_features": np.eye(2), "a/features": np.eye(2)}
    found = direction_angle(result, train=split, domains={"a": split})
    assert found["a"]["axis"] == pytest.approx(0, abs=1e-3)
