"""What a loss of power, a full disk or a link leaves in the output folder."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from pilarnet_convert import convert
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.output.folder import OutputFolder
from tests.pilarnet_convert.outputs import contents
from tests.sample import SAMPLE


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("whole") / "out"
    convert(SAMPLE, out, workers=1, events_per_shard=7)
    return out


@pytest.fixture
def interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a conversion that ended before its root was written."""

    def power_off(*_: object) -> None:
        raise RuntimeError

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "write_root", power_off)
        with pytest.raises(RuntimeError):
            convert(SAMPLE, tmp_path / "out", workers=1, events_per_shard=7)
    return tmp_path / "out"


def _flip(file: Path) -> None:
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)


@pytest.mark.parametrize(
    "damage", [lambda file: file.write_bytes(b""), Path.unlink, _flip], ids=["empty", "gone", "bit"]
)
@pytest.mark.parametrize(
    "name",
    [
        ".conversion/begun/tasks/00001.json",
        ".conversion/begun/manifest.json",
        "train/00001/energy/c.0",
        "train/00001/zarr.json",
        "test/00001/offset/c.0",
    ],
)
def test_a_resumed_conversion_does_again_what_is_not_whole(
    interrupted: Path, finished: Path, name: str, damage: Callable[[Path], object]
):
    damage(interrupted / name)
    try:
        convert(SAMPLE, interrupted, workers=1, events_per_shard=7, resume=True)
    except PilarnetError as error:  # a manifest with a flipped bit may be that of another one
        assert "manifest" in name
        assert "--overwrite" in str(error)  # noqa: PT017
    else:
        assert contents(interrupted) == contents(finished)


def test_records_that_are_json_of_something_else_do_not_count(interrupted: Path, finished: Path):
    for number, text in enumerate(["[]", '{"task": 3}', '{"task": {"ranges": 1}}']):
        (interrupted / f".conversion/begun/tasks/{number:05d}.json").write_text(text)
    convert(SAMPLE, interrupted, workers=1, events_per_shard=7, resume=True)
    assert contents(interrupted) == contents(finished)


@pytest.mark.parametrize("how", [{}, {"overwrite": True}, {"resume": True}])
@pytest.mark.parametrize("name", ["train", "test", ".conversion"])
def test_folders_that_are_links_are_not_followed(
    finished: Path, tmp_path: Path, name: str, how: dict[str, bool]
):
    out, outside = tmp_path / "out", tmp_path / "outside"
    shutil.copytree(finished, out)
    shutil.rmtree(out / name, ignore_errors=True)
    shutil.copytree(finished / "train", outside)
    (out / name).symlink_to(outside)
    before = contents(outside)
    with pytest.raises(PilarnetError, match=f"{name}: a folder of the output is a link"):
        convert(SAMPLE, out, workers=1, **how)
    assert contents(outside) == before


def test_shards_and_files_that_are_links_are_replaced_and_lead_nowhere(
    finished: Path, tmp_path: Path
):
    out, outside = tmp_path / "out", tmp_path / "outside"
    shutil.copytree(finished, out)
    shutil.copytree(finished / "train", outside)
    (outside / "note").write_text("mine")
    before = contents(outside)
    shutil.rmtree(out / "train/00000")
    (out / "train/00000").symlink_to(outside / "00000")
    (out / "train/zarr.json").unlink()
    (out / "train/zarr.json").symlink_to(outside / "note")
    (out / ".conversion").mkdir()
    (out / ".conversion/lock").symlink_to(outside / "note")
    convert(SAMPLE, out, workers=1, events_per_shard=7, overwrite=True)
    assert contents(outside) == before
    assert contents(out) == contents(finished)


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP])
def test_a_file_system_without_locks_is_warned_of(
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    number: int,
):
    def no_locks(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", no_locks)
    convert(SAMPLE, tmp_path / "out", workers=1, events_per_shard=7)
    assert contents(tmp_path / "out") == contents(finished)
    (line,) = capfd.readouterr().err.splitlines()
    assert line.startswith(f"warning: {tmp_path / 'out/.conversion/lock'}: the file system has no")


def test_a_start_that_fails_leaves_nothing_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(OutputFolder, "begin", full)
        with pytest.raises(OSError, match="No space"):
            convert(SAMPLE, tmp_path / "out", workers=1)
    assert contents(tmp_path / "out") == {}
    convert(SAMPLE, tmp_path / "out", workers=1)
