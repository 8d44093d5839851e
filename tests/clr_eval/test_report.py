"""The command end to end: the report, what it computes once, and one line for what is wrong."""

from __future__ import annotations

import fcntl
import json
import os
import re
import shutil
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

from clr_eval import EvalConfig, embed, evaluate
from clr_eval.binned_metrics import binned_metrics
from clr_eval.cache import Arrays, ResultCache
from clr_eval.cli import eval_command
from clr_eval.corruptions import CORRUPTIONS, Corruption
from clr_eval.evaluation import Evaluation
from clr_eval.methods import CLASS_WEIGHTS, METHODS
from clr_train.probe.classifiers import fit_classifier
from clr_train.probe.features import Features
from clr_train.probe.probes import linear_probe
from clr_train.stream.reader import SplitReader
from pilarnet_convert.errors import PilarnetError
from tests.clr_train.species import make_shards

OPTIONS = (
    "--device=cpu",
    "--fractions=0.4,1.0",
    "--seeds=0,1",
    "--epochs=1",
    "--min-steps=2",
    "--batch-size=30",
    "--resamples=8",
)
PICTURES = ("label_fractions", "confusion", "robustness", "binned_metrics", "map", "neighbours")


@pytest.fixture(scope="module", autouse=True)
def _small() -> Any:
    """Try two levels of each corruption, and draw coarsely: both take time."""
    patch = pytest.MonkeyPatch()
    few = {
        name: Corruption(title=d.title, axis=d.axis, levels=(0.0, d.levels[-1]), apply=d.apply)
        for name, d in CORRUPTIONS.items()
    }
    patch.setattr("clr_eval.robustness.CORRUPTIONS", few)
    patch.setattr("pilarnet_convert.pictures._DPI", 40)
    yield
    patch.undo()


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(eval_command, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def folder(checkpoint: Path, shards: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("report") / "report"
    done = _invoke("--checkpoint", checkpoint, "--shards", shards, "--out", out, *OPTIONS)
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    assert lines[-1] == f"wrote {out / 'report.html'}: open it in a browser"
    (out / "stdout.txt").write_text(done.stdout)
    return out


@pytest.fixture(scope="module")
def report(folder: Path) -> dict[str, Any]:
    text = (folder / "report.json").read_text()
    found: dict[str, Any] = json.loads(text, parse_constant=pytest.fail)  # no NaN: strict JSON
    return found


def test_every_method_is_evaluated_at_every_fraction(report: dict[str, Any]) -> None:
    evaluated = [(r["method"], r["fraction"], tuple(r["seeds"])) for r in report["results"]]
    expected = []
    for name, method in METHODS.items():
        drawn_at_all = (0, 1) if method.features is None else (0,)
        expected += [(name, 0.4, (0, 1)), (name, 1.0, drawn_at_all)]
    assert evaluated == expected
    labelled = {r["fraction"]: r["num_labelled"] for r in report["results"]}
    assert labelled[1.0] == 90
    assert labelled[0.4] == pytest.approx(36, abs=2)
    for result in report["results"]:
        assert np.sum(result["confusion"]) == pytest.approx(60)
        for figure in ("accuracy", "balanced_accuracy", "auc"):
            found = result[figure]
            assert 0 <= found["low"] <= found["high"] <= 1
            assert found["value"] == pytest.approx(np.mean(found["seeds"]))


def test_the_linear_probe_is_that_of_the_embeddings(
    report: dict[str, Any], checkpoint: Path, shards: Path
) -> None:
    train, test = (
        Features(
            values=e.features, label=e.label.astype(np.int64), particle=np.arange(len(e.label))
        )
        for e in (embed(checkpoint, shards, split=s, device="cpu") for s in ("train", "test"))
    )
    expected = linear_probe(train, test=test)
    (found,) = (r for r in report["results"] if (r["method"], r["fraction"]) == ("linear", 1.0))
    assert found["accuracy"]["value"] == pytest.approx(expected.accuracy)
    assert found["balanced_accuracy"]["value"] == pytest.approx(expected.balanced_accuracy)


def test_robustness_begins_at_the_result_on_clean_data(report: dict[str, Any]) -> None:
    assert list(report["robustness"]) == list(CORRUPTIONS)
    clean = {r["method"]: r["accuracy"]["value"] for r in report["results"] if r["fraction"] == 1.0}
    for corruption in report["robustness"].values():
        assert list(corruption["methods"]) == [
            "finetuned",
            "linear",
            "scratch",
            "handcrafted-trees",
        ]
        for name, curves in corruption["methods"].items():
            assert len(curves["accuracy"]) == len(corruption["levels"]) == 2
            assert curves["accuracy"][0]["value"] == pytest.approx(clean[name])


def test_binned_metrics_add_up(report: dict[str, Any]) -> None:
    for methods in report["binned_metrics"].values():
        for name, bins in methods.items():
            assert sum(b["count"] for b in bins) == 60
            total = sum(b["count"] * b["accuracy"]["value"] for b in bins)
            (whole,) = (r for r in report["results"] if (r["method"], r["fraction"]) == (name, 1.0))
            assert total / 60 == pytest.approx(whole["accuracy"]["value"])


def test_neighbours_are_the_nearest(report: dict[str, Any], checkpoint: Path, shards: Path) -> None:
    train, test = (embed(checkpoint, shards, split=s, device="cpu") for s in ("train", "test"))
    unit = [e.features / np.linalg.norm(e.features, axis=1)[:, None] for e in (train, test)]
    found = report["map"]["neighbours"]
    assert test.label[found["query"]].tolist() == [0, 1, 2, 3, 4]
    for query, rows, cosine in zip(*found.values(), strict=True):
        every = unit[0] @ unit[1][query]
        np.testing.assert_allclose(np.sort(every)[::-1][:5], cosine, atol=1e-4)
        np.testing.assert_allclose(every[rows], cosine, atol=1e-4)


def test_the_text_has_every_part_and_shows_every_picture(folder: Path) -> None:
    text = (folder / "report.md").read_text()
    for method in METHODS.values():
        assert f"| {method.title} |" in text
    for picture in PICTURES:
        assert f"({picture}.png)" in text
        assert (folder / f"{picture}.png").read_bytes().startswith(b"\x89PNG")
    assert "90 particles: " in text
    assert "nan" not in text


def test_the_accuracies_are_printed_and_logged(folder: Path, report: dict[str, Any]) -> None:
    printed = (folder / "stdout.txt").read_text()
    log = (folder / "log.txt").read_text()
    (row,) = (r for r in report["results"] if (r["method"], r["fraction"]) == ("linear", 1.0))
    (line,) = (text for text in printed.splitlines() if text.startswith(METHODS["linear"].title))
    assert f"{100 * row['balanced_accuracy']['value']:.1f} (" in line
    assert f"{100 * row['accuracy']['value']:.1f} (" in line
    assert line.strip() in log
    assert "device: cpu, 1 threads, engine torch, fp32" in log


def test_the_page_is_whole_and_holds_the_map(folder: Path, shards: Path) -> None:
    page = (folder / "report.html").read_text()
    assert page.count("data:image/png;base64,") == len(PICTURES) - 1  # the map is drawn by itself
    assert not re.findall(r"(?:src|href)=\"(?!data:)", page)
    (held,) = re.findall(r"id=\"data\">(.*?)</script>", page, re.DOTALL)
    data = json.loads(held)
    label = SplitReader(shards, split="test", block_particles=512).layout.label
    assert data["class"] == label.tolist()
    assert {len(data[name]) for name in ("x", "y", "facts")} == {60}
    assert "<" not in held


def test_nothing_is_computed_twice_and_the_result_is_the_same(
    folder: Path, checkpoint: Path, shards: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    results = sorted((again / "results").iterdir())
    # As if interrupted: the last of what it computes is missing, another is damaged.
    (missing,) = (p for p in results if p.name.startswith("neighbours-"))
    missing.unlink()
    damaged = next(p for p in results if p.name.startswith("probe-knn-"))
    damaged.write_bytes(damaged.read_bytes()[:100])
    (again / "report.json").unlink()
    monkeypatch.setattr("clr_eval.finetune.Classifier.fit", _must_not)
    monkeypatch.setattr("clr_eval.evaluation.collect", _must_not)
    done = _invoke("--checkpoint", checkpoint, "--shards", shards, "--out", again, *OPTIONS)
    assert done.exit_code == 0, done.output
    first, second = (json.loads((f / "report.json").read_text()) for f in (folder, again))
    assert first == second
    assert sorted((again / "results").iterdir()) == results


def _must_not(*_args: Any, **_options: Any) -> None:
    raise AssertionError("this was computed before")


def test_other_options_compute_what_they_change(
    folder: Path, checkpoint: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    before = {p.name for p in (again / "results").iterdir()}
    monkeypatch.setattr("clr_eval.evaluation.collect", _must_not)
    config = EvalConfig(
        checkpoint=str(checkpoint), shards=str(shards), out=str(again), device="cpu",
        fractions=(1.0,), seeds=(0,), parts=("finetune",), min_steps=3, epochs=1, resamples=0,
    )  # fmt: skip
    report = evaluate(config)
    assert {r["method"] for r in report["results"]} == {"finetuned"}
    assert "robustness" not in report
    added = {p.name for p in (again / "results").iterdir()} - before
    assert len(added) == 1
    assert next(iter(added)).startswith("network-finetuned-")


def test_the_class_weight_changes_what_is_fitted_and_is_said(
    folder: Path, checkpoint: Path, shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    again = tmp_path / "again"
    shutil.copytree(folder, again)
    monkeypatch.setattr("clr_eval.evaluation.collect", _must_not)
    options = ("--parts=probe", "--fractions=1.0", "--seeds=0", "--resamples=8")
    lines, means = {}, {}
    for weight in CLASS_WEIGHTS:
        inputs = ("--checkpoint", checkpoint, "--shards", shards, "--out", again)
        done = _invoke(*inputs, *options, "--device=cpu", "--class-weight", weight)
        assert done.exit_code == 0, done.output
        lines[weight] = (again / "report.md").read_text()
        results = json.loads((again / "report.json").read_text())["results"]
        means[weight] = {r["method"]: r["accuracy"]["value"] for r in results}
        assert CLASS_WEIGHTS[weight] in lines[weight]
    assert means["none"]["knn"] == means["balanced"]["knn"]
    assert means["none"]["handcrafted-linear"] != means["balanced"]["handcrafted-linear"]
    with pytest.raises(PilarnetError, match=r"--class-weight: .*balanced, none, found alike"):
        EvalConfig(checkpoint=str(checkpoint), shards=str(shards), class_weight="alike")


def test_bins_hold_equally_many_and_every_particle() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 5, 400)
    predicted = np.where(rng.random(400) < 0.8, truth, 0)[None]
    values = rng.lognormal(size=400)
    bins = binned_metrics(values, truth=truth, predicted=predicted, resamples=0, seed=0)
    assert [b["count"] for b in bins] == [50] * 8
    for b in bins:
        rows = (values >= b["low"]) & ((values < b["high"]) | (values == values.max()))
        there = rows & (values <= b["high"])
        right = (truth == predicted[0])[there].mean()
        assert b["accuracy"]["value"] == pytest.approx(right)
    (alone,) = binned_metrics(np.zeros(400), truth=truth, predicted=predicted, resamples=0, seed=0)
    assert alone["count"] == 400


def _line(result: Result, *, exit_code: int = 1) -> str:
    assert result.exit_code == exit_code, result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_two_reports_into_one_folder(checkpoint: Path, shards: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", checkpoint, "--shards", shards, "--out", tmp_path, *OPTIONS]
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        line = _line(_invoke(*options, "--parts=map"))
    assert f"{tmp_path}: --out: another process is writing into this folder" in line
    assert os.listdir(tmp_path) == [".lock"]
    assert _invoke(*options, "--parts=map").exit_code == 0


def test_a_test_split_of_one_particle_of_unknown_energy(checkpoint: Path, tmp_path: Path) -> None:
    sizes = {"train": 20, "val": 0, "test": 1}
    shards = make_shards(tmp_path / "shards", sizes, energy_deposit=np.nan)
    out = tmp_path / "report"
    options = ["--checkpoint", checkpoint, "--shards", shards, "--out", out, *OPTIONS]
    done = _invoke(*options, "--parts=map,probe,by-energy")
    assert done.exit_code == 0, done.output
    text = (out / "report.md").read_text()
    assert "t-SNE of the features of 1 particle of the test split" in text
    assert "## By deposited energy [MeV]\n\nIt is not known of 1 particle." in text
    report = json.loads((out / "report.json").read_text(), parse_constant=pytest.fail)
    binned = report["binned_metrics"]
    assert [len(binned[name]["linear"]) for name in ("energy_deposit", "num_voxels")] == [0, 1]
    assert (out / "map.png").exists()


@pytest.mark.parametrize(
    "names",
    [
        ["notes.txt"],
        ["log.txt", ".lock", "config.toml", "checkpoints/best.pt", "results/a.npz"],  # of clr-train
        ["log.txt", ".lock-1-of-1", "results/a.npz", "runs/a/done"],  # of clr-study
        ["log.txt", "results/a.npz", "report.json"],  # of clr-study, finished
    ],
)
def test_a_folder_that_holds_something_else(
    checkpoint: Path, shards: Path, tmp_path: Path, names: list[str]
) -> None:
    for name in names:
        (tmp_path / name).parent.mkdir(exist_ok=True, parents=True)
        (tmp_path / name).write_text('{"format": "pilarnet-clr-study"}')
    before = sorted(tmp_path.rglob("*"))
    options = ["--checkpoint", checkpoint, "--shards", shards, "--out", tmp_path, *OPTIONS]
    assert "the output folder is in use" in _line(_invoke(*options, "--parts=map"))
    assert sorted(tmp_path.rglob("*")) == before


@pytest.mark.parametrize(
    ("argument", "exit_code", "message"),
    [
        ("--checkpoint=none.pt", 1, "none.pt: no such checkpoint"),
        ("--shards=none", 1, "none: no such folder"),
        ("--device=tpu", 2, "--device: unknown device"),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    checkpoint: Path, shards: Path, tmp_path: Path, argument: str, exit_code: int, message: str
) -> None:
    options = ["--checkpoint", checkpoint, "--shards", shards, "--out", tmp_path / "report"]
    assert message in _line(_invoke(*options, argument), exit_code=exit_code)
    assert not (tmp_path / "report").exists()


def test_wrong_usage() -> None:
    for arguments, message in (
        (["--shards=s"], "Missing option '--checkpoint'"),
        (["--checkpoint=c", "--shards=s", "--seeds=few"], "'few' is not a list such as N,..."),
        (["--checkpoint=c", "--shards=s", "--class-weight=1"], "'1' is not one of 'balanced',"),
    ):
        result = _invoke(*arguments)
        assert result.exit_code == 2
        assert message in result.stderr


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("--fractions=0,1", "--fractions: unusable value (expected above 0, found 0.0)"),
        ("--fractions=", "--fractions: the value is empty"),
        ("--seeds=-1", "--seeds: unusable value (expected at least 0, found -1)"),
        ("--seeds=1,1", "--seeds: unusable value (expected one value or more, each once, found"),
        ("--parts=probe,magic", "expected one of probe, finetune, scratch, robustness,"),
        ("--parts=robustness", "expected one of probe, finetune, scratch as well"),
        ("--test-split=train", "--test-split: methods would be evaluated on the particles whose"),
        ("--train-split=test", "(expected a split other than --train-split, found test)"),
        ("--epochs=0", "--epochs: unusable value (expected at least 1, found 0)"),
        ("--lr=0", "--lr: unusable value (expected above 0"),
        ("--max-particles=3", "--max-particles: unusable value (expected at least 10, found 3)"),
    ],
)
def test_unusable_values_are_wrong_usage(tmp_path: Path, argument: str, message: str) -> None:
    out = tmp_path / "report"
    result = _invoke("--checkpoint=c", "--shards=s", f"--out={out}", argument)
    assert message in _line(result, exit_code=2)
    assert not out.exists()


def test_a_split_that_is_empty(checkpoint: Path, sample_shards: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", checkpoint, "--shards", sample_shards, "--out", tmp_path / "report"]
    assert "no particles in the split" in _line(_invoke(*options))
    reader = SplitReader(sample_shards, split="test", block_particles=512)
    assert len(reader.layout.label) > 20


def test_particles_of_unknown_value_are_in_no_bin() -> None:
    truth, values = np.arange(40) % 5, np.arange(40.0)
    rates = {"truth": truth, "predicted": truth[None], "resamples": 0, "seed": 0}
    known = binned_metrics(values, **rates)
    rates |= {"truth": np.tile(truth, 2), "predicted": np.tile(truth, 2)[None]}
    assert binned_metrics(np.append(values, np.full(40, np.nan)), **rates) == known
    assert binned_metrics(np.full(80, np.nan), **rates) == []


@pytest.mark.parametrize(("number", "trials"), [(10_000, 1), (10_001, 3)])
def test_the_seed_of_trees_has_an_effect_where_they_hold_particles_out(
    number: int, trials: int
) -> None:
    values = np.random.default_rng(0).normal(size=(number, 1))
    label = (values[:, 0] + np.random.default_rng(1).normal(size=number) > 0).astype(np.int64)
    found = {
        fit_classifier("trees", values, label, seed=seed).predict_proba(values).tobytes()
        for seed in (0, 1, 2)
    }
    evaluation = SimpleNamespace(train=range(number), config=SimpleNamespace(seeds=(0, 1, 2)))
    assert len(found) == len(Evaluation.trials(evaluation, "trees", 1.0)) == trials


def test_a_damaged_result_is_made_again(tmp_path: Path) -> None:
    cache, times = ResultCache(tmp_path, identity={}), count()

    def make() -> Arrays:
        next(times)
        return {"a/0": np.arange(3.0), "b": np.ones(2)}

    cache.get("x", depends_on={}, make=make)
    (path,) = tmp_path.iterdir()
    whole = path.read_bytes()
    for at in range(0, len(whole), 7):
        for damaged in (whole[:at], whole[:at] + bytes([whole[at] ^ 1]) + whole[at + 1 :]):
            path.write_bytes(damaged)
            before = next(times)
            found = cache.get("x", depends_on={}, make=make)
            assert next(times) == before + 2
            assert found.keys() == {"a/0", "b"}
            assert path.read_bytes() == whole
