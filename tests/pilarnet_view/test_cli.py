"""The command pilarnet-view: pages, pictures, and errors in one line."""

from __future__ import annotations

import re
import resource
from pathlib import Path

import pytest

from tests.pilarnet_view.conftest import Run
from tests.pilarnet_view.test_page import data_of
from tests.sample import SAMPLE


def one_line(run: Run, *args: str | Path) -> str:
    """Run what must fail, and give the one line that it says."""
    result = run(*args)
    # A value of an option that cannot be used is wrong usage.
    assert result.exit_code == (2 if ": --" in result.output else 1), result.output
    assert result.output.startswith("error: ")
    assert result.output.count("\n") == 1
    assert not list(Path().iterdir()), "nothing is left behind"
    return result.output


def test_an_event(run: Run):
    result = run(SAMPLE, "--entry", 9)
    assert result.exit_code == 0, result.output
    assert result.output == (
        "wrote dlprod_192px_00-entry9.html: dlprod_192px_00.root, entry 9, run 1, subrun 110, "
        "event 9: 16 clusters, 2,077 voxels, 1,270 MeV deposited\n"
    )
    data = data_of(Path("dlprod_192px_00-entry9.html").read_text("utf-8"))
    assert len(data["panels"][0]["clouds"]) == 16  # type: ignore[index]
    assert data["notes"] == []


def test_several_events_are_one_page(run: Run):
    for args, entries, name in (
        ([], range(10), "dlprod_192px_00-entry0-on.html"),
        (["--entry", "15:"], range(15, 20), "dlprod_192px_00-entry15-on.html"),
        (["--entry", "18:99999999999999999999"], range(18, 20), "dlprod_192px_00-entry18-on.html"),
        (["--entry", "3:5", "--out", "two.html"], range(3, 5), "two.html"),
    ):
        result = run(SAMPLE, *args)
        assert result.exit_code == 0, result.output
        assert f"entries {entries[0]} to {entries[-1]} of 20" in result.output
        panels = data_of(Path(name).read_text("utf-8"))["panels"]
        assert [p["title"].split(":")[0] for p in panels] == [f"entry {n}" for n in entries]  # type: ignore[attr-defined]


def test_what_was_made_is_opened(run: Run, monkeypatch: pytest.MonkeyPatch):
    opened: list[str] = []
    monkeypatch.setattr("webbrowser.open", lambda uri: not opened.append(uri))
    assert run(SAMPLE, "--out", "a b.html", "--open").exit_code == 0
    assert run(SAMPLE, "--png", "c.png", "--camera", "zy", "--cube", "--open").exit_code == 0
    assert opened == [(Path.cwd() / name).as_uri() for name in ("a b.html", "c.png")]
    monkeypatch.setattr("webbrowser.open", lambda _uri: False)
    result = run(SAMPLE, "--out", "d.html", "--open")
    assert (result.exit_code, "no browser was found: open d.html" in result.output) == (0, True)


@pytest.mark.parametrize("name", ["e.html", "e.png"])
def test_a_write_that_fails_half_way_leaves_what_was_there(run: Run, name: str):
    assert run(SAMPLE, "--out", name).exit_code == 0
    before = Path(name).read_bytes()
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))  # as a disk that gets full
    try:
        result = run(SAMPLE, "--entry", 9, "--out", name)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (result.exit_code, result.output.count("\n")) == (1, 1)
    assert "File too large" in result.output
    assert [p.name for p in Path().iterdir()] == [name]
    assert Path(name).read_bytes() == before


def test_a_gallery(run: Run, shards: Path):
    result = run(shards, "--label", "muon", "--count", 5, "--axes", "voxels", "--colour", "class")
    assert result.exit_code == 0, result.output
    data = data_of(Path("shards-train-muon.html").read_text("utf-8"))
    species = [panel["clouds"][0]["species"] for panel in data["panels"]]  # type: ignore[attr-defined]
    assert species == ["muon"] * 5
    assert (data["axes"], data["colouring"]) == ("voxels", "class")


def test_a_gallery_of_twelve_by_default(run: Run, shards: Path):
    assert run(shards, "--out", "g.html").exit_code == 0
    assert len(data_of(Path("g.html").read_text("utf-8"))["panels"]) == 12  # type: ignore[arg-type]


def test_particles_by_their_indices(run: Run, shards: Path):
    assert run(shards, "--index", 7, "--index", 4, "--out", "two.html").exit_code == 0
    panels = data_of(Path("two.html").read_text("utf-8"))["panels"]
    assert [p["clouds"][0]["name"] for p in panels] == ["train 7", "train 4"]  # type: ignore[attr-defined]


def test_views(run: Run, shards: Path):
    pytest.importorskip("torch")
    args = ["--views", "--index", "4", "--num-views", 3, "--augmentations", "rotate, drop"]
    result = run(shards, *args, "--epoch", 1, "--seed", 2)
    assert result.exit_code == 0, result.output
    data = data_of(Path("shards-train-4-views.html").read_text("utf-8"))
    titles = [panel["title"] for panel in data["panels"]]  # type: ignore[attr-defined]
    assert titles[1:] == [f"view {n}: drop + rotate" for n in (1, 2, 3)]
    assert data["columns"] == 4


def test_one_particle_with_views_by_default(run: Run, shards: Path):
    pytest.importorskip("torch")
    assert run(shards, "--views", "--label", "pion").exit_code == 0
    data = data_of(Path("shards-train-pion-views.html").read_text("utf-8"))
    assert len(data["panels"]) == 3  # type: ignore[arg-type]


def test_a_picture_alone_or_beside_the_page(run: Run):
    assert run(SAMPLE, "--png", "event.png").exit_code == 0
    assert [path.name for path in Path().iterdir()] == ["event.png"]
    result = run(SAMPLE, "--png", "event.png", "--out", "event.html")
    assert [line.split(":")[0] for line in result.output.splitlines()] == [
        "wrote event.png",
        "wrote event.html",
    ]
    assert Path("event.html").stat().st_size > 50_000


def test_names_of_files_are_no_formulas(run: Run, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp("names")
    for name in (r"a $\frac$.root", "$x_$.root", "a [1]* #%41 ü.root"):
        file = folder / name
        file.symlink_to(SAMPLE)
        result = run(file, "--entry", 9, "--png", "event.png", "--out", "event.html")
        assert result.exit_code == 0, result.output
        assert f"wrote event.png: {name}, entry 9" in result.output
        assert data_of(Path("event.html").read_text("utf-8"))["title"] == f"{name}, entry 9"


def test_large_events_are_thinned_and_say_so(run: Run):
    assert run(SAMPLE, "--entry", 9, "--max-voxels", 700, "--out", "e.html").exit_code == 0
    notes = data_of(Path("e.html").read_text("utf-8"))["notes"]
    assert notes[0].startswith("700 of 2,077 voxels are shown")  # type: ignore[index]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["no.root"], "no.root: no such file or folder"),
        (["shrads", "--label", "muon"], "shrads: no such file or folder"),
        ([SAMPLE, "--entry", "99"], "no such entry (expected 0 to 19, found 99)"),
        ([SAMPLE, "--entry", "5:5"], "no such entry (expected 0 to 19, found 5)"),
        ([SAMPLE, "--entry", "-5:"], "no such entry (expected 0 to 19, found -5)"),
        ([SAMPLE, "--entry", "9" * 20], f"no such entry (expected 0 to 19, found {'9' * 20})"),
        ([SAMPLE, "--entry", f"0:{'9' * 5000}"], "not an event (expected such as 3 or 10:20"),
        ([SAMPLE, "--entry", "all"], "--entry: not an event (expected such as 3 or 10:20"),
        ([SAMPLE, "--camera", "top"], "--camera: no such camera (expected 3d, zy, zx, xy, or AZ"),
        ([SAMPLE, "--camera", "10,100"], "--camera: no such camera"),
        ([SAMPLE, "--label", "muon"], "--label: PATH is a file, and this option is for shards"),
        ([SAMPLE, "--views"], "--views: PATH is a file"),
        ([Path(__file__)], "test_cli.py"),
        (["SHARDS", "--entry", "0"], "--entry: PATH is a folder of shards"),
        (["SHARDS", "--split", "test"], "no particles in the split"),
        (
            ["SHARDS", "--index", "7", "--count", "2"],
            "--count: with --index, no particles are drawn",
        ),
        (["SHARDS", "--index", "70000"], "--index: no such particle"),
        (["SHARDS", "--num-views", "3"], "--num-views: this option needs --views"),
        (["SHARDS/train"], "a part of a set of shards, not the set; name"),
        (["EMPTY"], "the folder holds no shards"),
        (["SHARDS", "--png", "a.gif"], "a.gif: --png: not a kind of picture"),
        (["SHARDS", "--out", "nowhere/a.html"], "nowhere: --out: no such folder"),
    ],
)
def test_bad_input_is_one_clear_line(
    run: Run,
    shards: Path,
    tmp_path_factory: pytest.TempPathFactory,
    args: list[str | Path],
    message: str,
):
    places = {"SHARDS": str(shards), "EMPTY": str(tmp_path_factory.mktemp("empty"))}
    words = [re.sub("SHARDS|EMPTY", lambda name: places[name[0]], str(arg)) for arg in args]
    line = one_line(run, *words)
    assert message in line


def test_options_that_cannot_be(run: Run, shards: Path):
    for args in (["--label", "kaon"], ["--max-voxels", "0"], ["--axes", "mm"]):
        result = run(shards, *args)
        assert result.exit_code == 2
        assert result.output.startswith(f"error: {args[0]}: ")
    result = run(shards, "--count", "0")
    assert (result.exit_code, result.output) == (
        2,
        "error: --count: unusable value (expected at least 1, found 0)\n",
    )
