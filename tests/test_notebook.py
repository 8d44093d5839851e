"""The notebook of the documentation: it runs from start to end, and is kept small."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.sample import GEANT4

NOTEBOOK = Path(__file__).parents[1] / "docs" / "notebooks" / "tour.ipynb"


def _text(cell: dict[str, object]) -> str:
    outputs: list[dict[str, object]] = cell.get("outputs", [])  # type: ignore[assignment]
    return "".join("".join(output.get("text", "")) for output in outputs)  # type: ignore[arg-type]


def test_it_is_small_and_names_no_folder_of_its_author() -> None:
    text = NOTEBOOK.read_text()
    assert len(text) < 300_000
    assert "/tmp" not in text
    assert "/home" not in text


@pytest.mark.slow
def test_it_runs_and_shows_what_it_showed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    nbclient, nbformat = pytest.importorskip("nbclient"), pytest.importorskip("nbformat")
    pytest.importorskip("ipykernel")
    (tmp_path / "data" / "sample").mkdir(parents=True)
    (tmp_path / "data" / "sample" / GEANT4.name).symlink_to(GEANT4)
    folder = tmp_path / "docs" / "notebooks"
    folder.mkdir(parents=True)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(NOTEBOOK.parents[2]))
    book = nbformat.read(NOTEBOOK, as_version=4)
    nbclient.NotebookClient(
        book, timeout=600, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    assert list(folder.iterdir()) == []  # what it writes goes elsewhere
    kept = json.loads(NOTEBOOK.read_text())["cells"]
    for cell, before in zip(book.cells, kept, strict=True):
        if "<Particle" in _text(before):  # what is printed of the training may differ in a digit
            assert _text(cell) == _text(before)
    shown = [
        output.data for cell in book.cells for output in cell.get("outputs", []) if "data" in output
    ]
    assert sum("image/png" in data for data in shown) == 2
    assert sum("application/vnd.plotly.v1+json" in data for data in shown) == 1
