"""Which folders a conversion writes to, and what it removes there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from pilarnet_convert import verify
from pilarnet_convert.errors import PilarnetError
from tests.pilarnet_convert.outputs import contents, run_convert
from tests.sample import SAMPLE


def first(out: Path) -> dict[str, bytes | None]:
    assert run_convert("--input", SAMPLE, "--out", out, "--workers", 1).exit_code == 0
    return contents(out)


def test_shards_are_not_replaced_by_accident(tmp_path: Path):
    out = tmp_path / "out"
    before = first(out)
    result = run_convert("--input", SAMPLE, "--out", out, "--workers", 1)
    assert result.exit_code == 1
    assert result.stderr == (
        f"error: {out}: the folder already holds shards; continue with --resume, replace it with "
        "--overwrite, or choose another --out\n"
    )
    assert contents(out) == before


def test_overwrite_removes_what_a_conversion_wrote_and_nothing_else(tmp_path: Path):
    out = tmp_path / "out"
    before = first(out)
    own = {
        "notes.txt": b"mine",
        "train/notes.txt": b"mine",
        "val/old/zarr.json": b"{}",
        "runs/1/best.pt": b"mine",
    }
    for name, data in own.items():
        (out / name).parent.mkdir(parents=True, exist_ok=True)
        (out / name).write_bytes(data)
    arguments = ("--input", SAMPLE, "--out", out, "--workers", 1, "--overwrite")
    result = run_convert(*arguments, "--splits", "test=1", "--events-per-shard", 7)
    assert (result.exit_code, result.stderr) == (0, "")
    files = {name: data for name, data in contents(out).items() if data is not None}
    assert {name: files[name] for name in own} == own
    assert not any(name.startswith(("train/0", "val/0")) for name in files)
    assert "test/00002/x/zarr.json" in files
    assert run_convert(*arguments).exit_code == 0
    for name in own:
        (out / name).unlink()
    (out / "val" / "old").rmdir()
    for folder in ("runs/1", "runs"):
        (out / folder).rmdir()
    assert contents(out) == before


@pytest.mark.parametrize("name", ["train/a.txt", "val/00000/zarr.json", "zarr.json"])
def test_folders_of_others_are_refused(tmp_path: Path, name: str):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text('{"attributes": {}}')
    before = contents(tmp_path)
    for how in ([], ["--overwrite"], ["--resume"]):
        result = run_convert("--input", SAMPLE, "--out", tmp_path, "--workers", 1, *how)
        assert result.exit_code == 1
        assert "holds something that no conversion wrote" in result.stderr
        assert f"found {name.split('/')[0]}" in result.stderr
        assert contents(tmp_path) == before


def test_folders_with_other_things_are_used(tmp_path: Path):
    (tmp_path / "notes.txt").write_text("mine")
    assert "train/00000/x/zarr.json" in first(tmp_path)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_folder_that_cannot_be(tmp_path: Path):
    (tmp_path / "file").write_text("mine")
    for out in (tmp_path / "file", tmp_path / "file" / "deep", Path("/proc/nothing")):
        result = run_convert("--input", SAMPLE, "--out", out, "--workers", 1)
        assert (result.exit_code, result.stdout) == (1, "")
        (line,) = result.stderr.splitlines()
        assert str(out) in line
        assert "internal" not in line
    assert (tmp_path / "file").read_text() == "mine"


def test_a_second_conversion_that_was_looking_while_the_first_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    """What another conversion finishes after the folder was found free is not removed."""
    from pilarnet_convert import conversion

    out = tmp_path / "out"
    index = conversion.index_inputs
    done: dict[str, bytes | None] = {}

    def overtaken(*args, **kwargs):
        monkeypatch.setattr(conversion, "index_inputs", index)
        done.update(first(out))
        return index(*args, **kwargs)

    monkeypatch.setattr(conversion, "index_inputs", overtaken)
    with pytest.raises(PilarnetError, match="already holds shards"):
        conversion.convert(SAMPLE, out, workers=1, min_voxels=3)
    assert {n: d for n, d in contents(out).items() if not n.startswith(".conversion")} == done


@pytest.mark.parametrize("finished", [True, False])
def test_version_1_is_converted_again(tmp_path: Path, finished: bool):
    out = tmp_path / "shards"
    arguments = ("--input", SAMPLE, "--out", out, "--workers", 1)
    if finished:
        assert run_convert(*arguments).exit_code == 0
        root = json.loads((out / "zarr.json").read_text())
        root["attributes"]["version"] = 1
        (out / "zarr.json").write_text(json.dumps(root))
    else:
        (out / ".conversion" / "segments").mkdir(parents=True)
        (out / ".conversion" / "record.json").write_text("{}")
    before = contents(out)
    for how in ([], ["--resume"], ["--part", "1/2"]):
        result = run_convert(*arguments, *how)
        assert (result.exit_code, result.stdout) == (1, "")
        assert result.stderr == (
            f"error: {out}: shards of another version of the format (expected version 2, found "
            "version 1); convert again with --overwrite, or choose another --out\n"
        )
        assert contents(out) == before
    assert run_convert(*arguments, "--overwrite").exit_code == 0
    assert verify(out) == []
    assert not (out / ".conversion").exists()
