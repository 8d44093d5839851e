"""Changing files: what is moved, linked and removed, and that what links lead to stays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pilarnet_convert import files
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.files import (
    folder_written_beside,
    link_file,
    move_folder,
    remove_at_once,
    remove_file,
    remove_folder,
    remove_if_empty,
    replaceable_folder,
    written_beside,
)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "folder"
    path.mkdir()
    (path / "file").write_text("one")
    return path


def test_what_a_link_leads_to_stays(folder: Path) -> None:
    for remove, target in ((remove_folder, folder), (remove_file, folder / "file")):
        link = folder.parent / "link"
        link.symlink_to(target)
        remove(link)
        assert not link.is_symlink()
        link.symlink_to(target)
        remove_at_once(link, aside=folder.parent / "aside")
        assert sorted(os.listdir(folder.parent)) == ["folder"]
        assert (folder / "file").read_text() == "one"


def test_what_is_not_there_need_not_be_removed(tmp_path: Path) -> None:
    for remove in (remove_file, remove_folder, remove_if_empty):
        remove(tmp_path / "nothing")
    remove_at_once(tmp_path / "nothing", aside=tmp_path / "aside")
    assert not any(tmp_path.iterdir())


def test_removed_at_once_leaves_nothing(folder: Path) -> None:
    aside = folder.parent / "aside"
    remove_at_once(folder / "file", aside=aside)
    (folder / "more").mkdir()
    remove_at_once(folder, aside=aside)
    assert not any(folder.parent.iterdir())


def test_only_an_empty_folder_is_removed(folder: Path) -> None:
    remove_if_empty(folder)
    remove_file(folder / "file")
    remove_if_empty(folder)
    assert not folder.exists()


def test_a_folder_is_not_moved_onto_a_full_one(folder: Path) -> None:
    other = folder.parent / "other"
    other.mkdir()
    (other / "file").write_text("two")
    assert not move_folder(folder, other)
    assert (folder / "file").read_text() == "one"
    assert (other / "file").read_text() == "two"
    remove_file(other / "file")
    assert move_folder(folder, other)
    assert [path.name for path in folder.parent.iterdir()] == ["other"]


def test_a_link_takes_the_place_of_what_was_there(folder: Path) -> None:
    target = folder / "target"
    target.write_text("two")
    link_file(folder / "file", target)
    assert target.samefile(folder / "file")
    assert len(os.listdir(folder)) == 2


def test_a_link_to_another_file_system_is_a_copy(folder: Path) -> None:
    memory = Path("/dev/shm")
    if not memory.is_dir() or memory.stat().st_dev == folder.stat().st_dev:
        pytest.skip("there is no second file system to write to")
    with TemporaryDirectory(dir=memory) as other:
        link_file(folder / "file", Path(other) / "target")
        assert (Path(other) / "target").read_text() == "one"
        assert os.listdir(other) == ["target"]


def test_a_write_that_fails_leaves_what_was_there(folder: Path) -> None:
    def fail() -> None:
        with written_beside(folder / "file") as stream:
            stream.write(b"two")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (folder / "file").read_text() == "one"
    assert os.listdir(folder) == ["file"]


def _write_folder(path: Path, text: str, *, overwrite: bool = False) -> None:
    with folder_written_beside(path, is_ours=_is_ours, overwrite=overwrite) as inside:
        (inside / "file").write_text(text)
        (inside / "other").write_text(text)


def _is_ours(folder: Path) -> bool:
    return (folder / "file").exists()


def test_a_link_to_a_folder_stays_and_leads_to_what_was_written(tmp_path: Path) -> None:
    link, folder = tmp_path / "link", tmp_path / "elsewhere" / "folder"
    link.symlink_to(folder)
    for text in ("one", "two", "three"):  # there is no folder, a full one, and an empty one
        _write_folder(link, text, overwrite=text == "two")
        assert link.is_symlink()
        assert (folder / "file").read_text() == text
        assert os.listdir(folder.parent) == ["folder"]
        if text == "two":
            remove_file(folder / "file")
            remove_file(folder / "other")
    with pytest.raises(PilarnetError, match=f"{link}: --out: exists already; replace it with"):
        _write_folder(link, "four")
    assert (folder / "file").read_text() == "three"


def test_the_current_folder_is_not_replaced(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inside = folder / "inside"
    inside.mkdir()
    monkeypatch.chdir(inside)
    for path in (Path(), inside, Path(".."), folder):
        with pytest.raises(PilarnetError, match=r"--out: the current folder .* cannot be replaced"):
            _write_folder(path, "two", overwrite=True)
    assert (folder / "file").read_text() == "one"
    _write_folder(Path("new"), "two")
    assert (inside / "new" / "file").read_text() == "two"


def test_a_mount_point_is_not_replaced(small_disk: Path) -> None:
    with pytest.raises(PilarnetError, match="a mount point cannot be replaced"):
        _write_folder(small_disk, "one")
    _write_folder(small_disk / "folder", "one")
    assert os.listdir(small_disk) == ["folder"]


def test_what_is_no_folder_of_ours_stays(folder: Path) -> None:
    remove_file(folder / "file")
    (folder / "thesis.tex").write_text("chapter")
    for path in (folder, folder / "thesis.tex", Path("/")):
        with pytest.raises(PilarnetError, match=f"^{path}: --out: exists already; choose another"):
            _write_folder(path, "one", overwrite=True)
    assert (folder / "thesis.tex").read_text() == "chapter"
    assert [path.name for path in folder.parent.iterdir()] == ["folder"]


def _killed(action: Callable[[], None], *, at: int, monkeypatch: pytest.MonkeyPatch) -> bool:
    """Do something in a process that ends when it would rename or remove for the `at`-th time."""
    left = at

    def count(change: Callable[..., None]) -> Callable[..., None]:
        def change_or_end(*args: object, **options: object) -> None:
            nonlocal left
            left -= 1
            if left < 0:
                os._exit(9)
            change(*args, **options)

        return change_or_end

    child = os.fork()
    if not child:
        monkeypatch.setattr(os, "rename", count(os.rename))
        monkeypatch.setattr(files.shutil, "rmtree", count(files.shutil.rmtree))
        try:
            action()
            os._exit(0)
        finally:
            os._exit(1)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    assert code in (0, 9)
    return code == 9


def test_a_kill_leaves_the_old_folder_or_the_new(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, found = tmp_path / "folder", []
    for at in range(20):
        _write_folder(path, "old", overwrite=True)
        killed = _killed(
            lambda: _write_folder(path, "new", overwrite=True), at=at, monkeypatch=monkeypatch
        )
        assert replaceable_folder(path, is_ours=_is_ours, overwrite=True) == path
        assert sorted(os.listdir(path)) == ["file", "other"]
        texts = {(path / name).read_text() for name in ("file", "other")}
        assert len(texts) == 1
        found += texts
        if not killed:
            break
    assert set(found[:2]) == {"old"}
    assert found[-1] == "new"
    assert not killed
    _write_folder(path, "old", overwrite=True)
    assert os.listdir(tmp_path) == ["folder"]
