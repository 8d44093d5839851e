"""Embeddings: in the order of the shards, whatever the batch, the same in every kind of file."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
import zarr
from click.testing import CliRunner, Result

from clr_eval import embed, embed_to_file
from clr_eval.cli import embed_command
from clr_eval.embedding import features as features_module
from clr_eval.embedding.files import EmbeddingTable, write_table
from clr_train import load_learner
from clr_train.batch import ParticleBatch
from clr_train.stream.reader import SplitReader
from pilarnet_convert import open_shards

COLUMNS = (
    "label", "pdg", "source", "run", "subrun", "event", "entry", "cluster", "track_id",
    "energy_init", "energy_deposit", "num_voxels",
)  # fmt: skip
MARKS = {"checkpoint_sha256": "", "layer": "encoder"}
ON_CPU = {"device": "cpu", "engine": "torch"}


@pytest.fixture(scope="module")
def found(checkpoint: Path, sample_shards: Path) -> Any:
    return embed(checkpoint, sample_shards, batch_size=50, **ON_CPU)


def test_rows_are_those_of_the_shards_in_their_order(found: Any, sample_shards: Path) -> None:
    shards = open_shards(sample_shards).splits["test"]
    tables = [shard.read((*COLUMNS[:-1], "offset")) for shard in shards]
    for name in COLUMNS[:-1]:
        np.testing.assert_array_equal(
            found.columns[name], np.concatenate([table[name] for table in tables])
        )
    sizes = np.concatenate([np.diff(table["offset"]) for table in tables])
    np.testing.assert_array_equal(found.columns["num_voxels"], sizes)
    assert set(found.columns) == set(COLUMNS)
    assert found.features.shape[0] == len(sizes)
    assert found.features.dtype == np.float32
    assert len(found.label) == len(sizes) > 40
    assert found.attributes["sources"] == ["dlprod_192px_00.root"]
    assert found.attributes["classes"][3] == "muon"


def test_features_are_the_encoder_s_of_each_particle_alone(
    found: Any, checkpoint: Path, sample_shards: Path
) -> None:
    learner = load_learner(checkpoint, device="cpu", engine="torch", precision="fp32")
    reader = SplitReader(sample_shards, split="test", block_particles=512)
    for row in (0, 17, len(found.label) - 1):
        alone = learner.represent(ParticleBatch.from_arrays(reader.read(np.array([row]))))
        np.testing.assert_allclose(found.features[row], alone.numpy()[0], atol=1e-5)


def test_the_batch_size_does_not_matter(found: Any, checkpoint: Path, sample_shards: Path) -> None:
    for size in (7, 161):  # the second holds them all
        other = embed(checkpoint, sample_shards, batch_size=size, **ON_CPU)
        scale = np.abs(found.features).max()
        np.testing.assert_allclose(other.features, found.features, atol=1e-5 * scale)
    again = embed(checkpoint, sample_shards, batch_size=161, **ON_CPU)
    np.testing.assert_array_equal(again.features, other.features)


def _read(path: Path) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    if path.suffix == ".zarr":
        group = zarr.open_group(path, mode="r")
        return {name: array[...] for name, array in group.arrays()}, dict(group.attrs)
    if path.suffix == ".h5":
        with h5py.File(path) as file:
            arrays = {name: file[name][...] for name in file}
            return arrays, json.loads(file.attrs["attributes"])
    if path.suffix == ".npz":
        with np.load(path) as file:
            arrays = dict(file)
        return arrays, json.loads(str(arrays.pop("attributes")))
    parquet = pytest.importorskip("pyarrow.parquet")
    table = parquet.read_table(path)
    arrays = {
        name: table[name].combine_chunks().to_numpy(zero_copy_only=False)
        for name in table.column_names
    }
    arrays["features"] = np.stack(arrays["features"])
    return arrays, json.loads(table.schema.metadata[b"attributes"])


@pytest.mark.parametrize("ending", [".zarr", ".h5", ".npz", ".parquet"])
def test_each_kind_of_file_holds_the_same(
    ending: str, found: Any, checkpoint: Path, sample_shards: Path, tmp_path: Path
) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"test{ending}"
    arguments = ["--checkpoint", checkpoint, "--shards", sample_shards, "--out", path]
    done = _invoke(*arguments, "--batch-size=50")
    assert done.exit_code == 0, done.output
    arrays, attributes = _read(path)
    np.testing.assert_array_equal(arrays.pop("features"), found.features)
    assert set(arrays) == set(COLUMNS)
    for name, values in arrays.items():
        np.testing.assert_array_equal(values, found.columns[name])
        assert values.dtype == found.columns[name].dtype
    assert attributes == found.attributes
    assert [p.name for p in tmp_path.iterdir()] == [path.name]

    line = _line(_invoke(*arguments))
    assert line.endswith(f"{path}: --out: exists already; replace it with --overwrite")
    assert _invoke(*arguments, "--overwrite").exit_code == 0


def test_shards_are_never_replaced(checkpoint: Path, sample_shards: Path, tmp_path: Path) -> None:
    shards = tmp_path / "data.zarr"
    shutil.copytree(sample_shards, shards)
    (shards / "train").rename(shards / "train.zarr")
    (shards / "train").symlink_to("train.zarr")
    before = sorted(shards.rglob("*"))
    for out in (shards, shards / "train.zarr"):
        line = _line(
            _invoke("--checkpoint", checkpoint, "--shards", shards, "--out", out, "--overwrite")
        )
        assert line.endswith(f"{out}: --out: exists already; choose another --out")
    assert sorted(shards.rglob("*")) == before


def test_a_folder_is_not_a_file(checkpoint: Path, sample_shards: Path, tmp_path: Path) -> None:
    out = tmp_path / "y.npz"
    out.mkdir()
    arguments = ["--checkpoint", checkpoint, "--shards", sample_shards, "--out", out]
    for more in ([], ["--overwrite"]):
        line = _line(_invoke(*arguments, *more))
        assert line.endswith(f"{out}: --out: a folder, not a file; choose another --out")
    assert [path.name for path in tmp_path.iterdir()] == ["y.npz"]


@pytest.mark.parametrize("ending", [".zarr", ".h5", ".npz", ".parquet"])
def test_files_do_not_depend_on_how_features_come(ending: str, tmp_path: Path) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    features = np.random.default_rng(0).normal(size=(9000, 3)).astype(np.float32)
    for name, cuts in (("one", [9000]), ("many", [1, 4096, 4097, 8200])):
        table = EmbeddingTable(
            columns={"label": np.arange(9000) % 5},
            width=3,
            blocks=np.split(features, [c for c in cuts if c < 9000]),
            attributes={"n": 1},
        )
        write_table(tmp_path / f"{name}{ending}", table)
        arrays, _ = _read(tmp_path / f"{name}{ending}")
        np.testing.assert_array_equal(arrays["features"], features)


def test_a_failure_leaves_nothing_behind(tmp_path: Path) -> None:
    def blocks() -> Any:
        yield np.zeros((5000, 2), np.float32)
        raise RuntimeError("lost")

    table = EmbeddingTable(
        columns={"label": np.zeros(9000)}, width=2, blocks=blocks(), attributes={}
    )
    with pytest.raises(RuntimeError, match="lost"):
        write_table(tmp_path / "out.zarr", table)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("ending", [".zarr", ".h5", ".npz", ".parquet"])
def test_a_full_disk_leaves_what_was_there(ending: str, small_disk: Path) -> None:
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path, rest = small_disk / f"out{ending}", small_disk / "rest"
    values = np.random.default_rng(0).random((2_000_000, 1))
    write_table(path, _table(values[:9]))
    rest.write_bytes(bytes(1_400_000))
    for table in [_table(values)] * 5 + [_table(values.reshape(2000, -1))]:
        with pytest.raises(OSError, match=f"No space left on device.*: '{path}'"):
            write_table(path, table)
        time.sleep(0.05)  # zarr's threads may still write
        assert set(small_disk.iterdir()) == {path, rest}
    np.testing.assert_array_equal(_read(path)[0]["features"], values[:9].astype(np.float32))


def _table(values: np.ndarray) -> EmbeddingTable:
    """Make a table whose label is the first of the features, [N, D]."""
    features = values.astype(np.float32)
    return EmbeddingTable(
        columns={"label": values[:, 0]}, width=values.shape[1], blocks=[features], attributes=MARKS
    )


def _invoke(*arguments: object) -> Result:
    return CliRunner().invoke(embed_command, [*map(str, arguments), "--device=cpu"])


def test_all_splits_follow_each_other(checkpoint: Path, shards: Path, tmp_path: Path) -> None:
    options = ["--checkpoint", checkpoint, "--shards", shards, "--out", tmp_path / "a.npz"]
    done = _invoke(*options, "--split=all")
    arrays, attributes = _read(tmp_path / "a.npz")
    width = arrays["features"].shape[1]
    assert done.stdout == f"wrote {tmp_path / 'a.npz'}: 190 particles, {width} features\n"
    assert attributes["splits"] == ["train", "val", "test"]
    assert np.bincount(arrays["split"]).tolist() == [90, 40, 60]
    for number, split in enumerate(attributes["splits"]):
        alone = embed(checkpoint, shards, split=split, **ON_CPU)
        rows = arrays["split"] == number
        np.testing.assert_array_equal(arrays["label"][rows], alone.label)
        np.testing.assert_array_equal(arrays["features"][rows], alone.features)


def test_the_projection_is_what_the_head_makes_of_the_features(
    checkpoint: Path, shards: Path
) -> None:
    before, after = (
        embed(checkpoint, shards, layer=layer, **ON_CPU) for layer in ("features", "projection")
    )
    head = load_learner(checkpoint, device="cpu").model.head
    with torch.no_grad():
        expected = head(torch.from_numpy(before.features))
    np.testing.assert_allclose(after.features, expected, rtol=1e-4, atol=1e-5)


def _line(result: Result) -> str:
    assert result.exit_code in (1, 2), result.output
    (line,) = result.stderr.strip().splitlines()
    assert line.startswith("error: ")
    return line


def test_what_cannot_be_done_is_said_in_a_line(
    checkpoint: Path, sample_shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def line_of(**changed: object) -> str:
        options = {
            "checkpoint": checkpoint, "shards": sample_shards, "out": tmp_path / "a.npz", **changed
        }  # fmt: skip
        return _line(_invoke(*(f"--{name}={value}" for name, value in options.items())))

    assert "no such checkpoint" in line_of(checkpoint=tmp_path / "none.pt")
    assert "no such folder" in line_of(shards=tmp_path / "none")
    assert "no particles in the split" in line_of(split="val")
    assert "expected a name that ends in .zarr, .parquet, .npz, .h5, found .csv" in line_of(
        out=tmp_path / "a.csv"
    )
    assert not list(tmp_path.iterdir())
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setattr(features_module, "read_checkpoint", lambda _path: pytest.fail("too late"))
        for ending in (".npz", ".zarr"):
            line = line_of(out=tmp_path / f"file/a{ending}")
            assert line == f"error: {tmp_path / 'file'}: --out: no such folder"


def test_the_library_writes_what_it_returns(
    found: Any, checkpoint: Path, sample_shards: Path, tmp_path: Path
) -> None:
    path, particles, width = embed_to_file(
        checkpoint, sample_shards, out=tmp_path / "new" / "a.npz", batch_size=50, **ON_CPU
    )
    assert (particles, width) == found.features.shape
    np.testing.assert_array_equal(_read(path)[0]["features"], found.features)
