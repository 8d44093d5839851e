"""Changing files: what is moved, linked and removed, and that what links lead to stays."""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from pilarnet_convert.files import (
    link_file,
    move_folder,
    remove_at_once,
    remove_file,
    remove_folder,
    remove_if_empty,
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
