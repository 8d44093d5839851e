"""The distribution table, against pandas and numpy over what plain zarr-python reads."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import zarr

from pilarnet_convert import convert, open_shards, statistics
from pilarnet_convert.shards import class_plot
from pilarnet_convert.shards.tables import render
from tests.pilarnet_convert.inputs import QUIRKS
from tests.pilarnet_convert.outputs import read_particles, run_stats
from tests.sample import SAMPLE

NAMES = ["electron", "proton", "gamma", "muon", "pion"]
#: Particles of the original study, from its table.
PUBLISHED = dict(zip(NAMES, [291_291, 212_228, 189_227, 184_699, 65_248], strict=True))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("stats") / "shards"
    convert([SAMPLE, QUIRKS], out, events_per_shard=30, workers=1)
    return out


@pytest.fixture(scope="module")
def particles(shards: Path) -> pd.DataFrame:
    rows = [
        {
            "split": p["split"],
            "class": NAMES[p["label"]],
            "voxels": len(p["energy"]),
            "energy_mev": float(p["energy_deposit"]),
        }
        for p in read_particles(shards)
    ]
    return pd.DataFrame(rows)


def chosen(particles: pd.DataFrame, split: str, species: str) -> pd.DataFrame:
    rows = particles if split == "all" else particles[particles["split"] == split]
    return rows if species == "all" else rows[rows["class"] == species]


def test_classes(shards: Path, particles: pd.DataFrame):
    found = statistics(shards).classes
    assert len(found) == 4 * 6
    for row in found.to_dict("records"):
        rows = chosen(particles, row["split"], row["class"])
        assert row["count"] == len(rows)
        total = len(chosen(particles, row["split"], "all"))
        assert row["fraction"] == pytest.approx(len(rows) / total)
        for name in ("voxels", "energy_mev"):
            for percent in (5, 50, 95):
                value = row[f"{name}_p{percent:02d}"]
                if len(rows):
                    assert value == pytest.approx(rows[name].quantile(percent / 100), rel=1e-6)
                else:
                    assert np.isnan(value)


def test_published_fractions(shards: Path):
    found = statistics(shards).classes.set_index(["split", "class"])["published_fraction"]
    assert sum(PUBLISHED.values()) == 942_693
    for name, count in PUBLISHED.items():
        assert found["all", name] == pytest.approx(count / 942_693)


def test_outcomes_add_up_to_what_was_seen(shards: Path, particles: pd.DataFrame):
    found = statistics(shards)
    clusters = found.clusters.set_index("outcome")["clusters"]
    assert clusters["written"] == len(particles)
    assert clusters.sum() == 254 + 329  # the rows of the two expected tables
    assert found.clusters["fraction"].sum() == pytest.approx(1)
    assert (found.num_events, found.num_sources) == (44, 2)
    assert found.num_shards == len(zarr.open_group(shards, mode="r").attrs["shards"])


def test_json(shards: Path):
    result = run_stats(shards, "--format", "json")
    assert (result.exit_code, result.stderr) == (0, "")
    document = json.loads(result.stdout)
    assert (document["events"], document["sources"], document["bad_files"]) == (44, 2, [])
    table = statistics(shards).classes
    ours = pd.DataFrame(document["classes"]).astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(ours, table)
    assert sum(row["clusters"] for row in document["clusters"]) == 254 + 329


def test_csv(shards: Path):
    result = run_stats(shards, "--format", "csv")
    table = statistics(shards).classes
    ours = pd.read_csv(io.StringIO(result.stdout)).astype(table.dtypes.to_dict())
    pd.testing.assert_frame_equal(ours, table)


def test_machine_readable_output_stays_so_with_verify(shards: Path):
    for style in ("json", "csv"):
        result = run_stats(shards, "--format", style, "--verify")
        assert result.stdout == run_stats(shards, "--format", style).stdout
        assert "every checksum holds" in result.stderr


def test_tables_of_a_large_set_fit_a_terminal(shards: Path):
    found = statistics(shards)
    for table in (found.classes, found.clusters, found.other_species):
        for column in {"count", "clusters"} & set(table):
            table[column] *= 100_000
    text = render(found)
    assert max(map(len, text.splitlines())) <= 80, text


def cells(lines: list[str]) -> list[list[str]]:
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_markdown(shards: Path, particles: pd.DataFrame):
    text = run_stats(shards, "--format", "markdown").stdout
    head, classes, sizes, energies, clusters, species = [
        part.splitlines() for part in text.strip().split("\n\n")
    ]
    assert head == ["44 events of 2 sources, " + f"{statistics(shards).num_shards} shards"]
    names, ruler, *rows = cells(classes)
    assert names == ["class", "train", "val", "test", "all", "fraction", "published"]
    assert all(set(cell) <= {"-", ":"} for cell in ruler)
    for row in rows:
        counts = [len(chosen(particles, s, row[0])) for s in ("train", "val", "test", "all")]
        assert [int(cell.replace(",", "")) for cell in row[1:5]] == counts
        assert row[5] == f"{100 * counts[-1] / len(particles):.1f} %"
        wanted = PUBLISHED.get(row[0], 942_693)
        assert row[6] == f"{100 * wanted / 942_693:.1f} %"
    names, _, *rows = cells(sizes)
    assert names[:4] == ["split", "class", "count", "fraction"]
    for row in rows:
        voxels = chosen(particles, row[0], row[1])["voxels"]
        if len(voxels):
            wanted = [f"{q:,.0f}" for q in np.percentile(voxels, [5, 50, 95])]
            assert row[4:7] == wanted
        else:
            assert row[4:7] == ["-", "-", "-"]
    names, _, *rows = cells(energies)
    assert names == ["split", "class", "MeV 5 %", "50 %", "95 %"]
    for row in rows:
        energy = chosen(particles, row[0], row[1])["energy_mev"]
        wanted = (
            [f"{q:,.1f}" for q in np.percentile(energy, [5, 50, 95])] if len(energy) else ["-"] * 3
        )
        assert row[2:] == wanted
    assert cells(clusters)[-1][:3] == ["seen", "583", "100.0 %"]
    names, _, *rows = cells(species)
    assert names == ["other species", "name", "count", "fraction"]
    rejected = {row[0]: row[1] for row in cells(clusters)}["other_species"]
    assert sum(int(row[2]) for row in rows) == int(rejected)
    assert {tuple(row[:2]) for row in rows} >= {("321", "K+"), ("-2212", "p~")}


def test_table_holds_what_markdown_holds(shards: Path):
    words = [
        set(run_stats(shards, "--format", style).stdout.replace("|", " ").split())
        for style in ("table", "markdown")
    ]
    assert {w for w in words[1] if not set(w) <= {"-", ":"} or w == "-"} == words[0]
    assert run_stats(shards).stdout == run_stats(shards, "--format", "table").stdout
    assert render(statistics(open_shards(shards))) == run_stats(shards).stdout.rstrip("\n")


@pytest.mark.parametrize("name", ["a picture.png", "a.svg"])
def test_plot(tmp_path: Path, shards: Path, name: str):
    result = run_stats(shards, "--plot", tmp_path / name)
    assert (result.exit_code, result.stderr) == (0, "")
    content = (tmp_path / name).read_bytes()
    assert content.startswith((b"\x89PNG", b"<?xml"))
    if name == "a.svg":
        for text in (b"particles of each class", b"deposited energy [MeV]", b"proton"):
            assert text in content
    if name == "a picture.png":
        from matplotlib.image import imread

        picture: Any = imread(tmp_path / name)[..., :3]
        assert picture.shape[1] > 1500
        shown = set(np.unique((picture * 255).round().astype(int) @ [65536, 256, 1]).tolist())
        assert shown >= {0x0072B2, 0xD55E00, 0xE69F00, 0x009E73, 0xCC79A7}


def test_few_particles_are_counted_in_whole_numbers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    made: list[Any] = []
    monkeypatch.setattr(class_plot, "save_figure", lambda figure, *_, **__: made.append(figure))
    few = convert(QUIRKS, tmp_path / "few", max_events=1, min_voxels=200, workers=1)
    class_plot.plot_classes(few, tmp_path / "a.png")
    made[0].draw_without_rendering()
    counts = [label.get_text() for label in made[0].axes[0].get_yticklabels()]
    assert counts[:3] == ["0", "1", "2"]


@pytest.mark.parametrize("name", ["a.nothing", "missing/a.png"])
def test_no_such_picture(tmp_path: Path, shards: Path, name: str):
    result = run_stats(shards, "--plot", tmp_path / name)
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    assert "internal" not in line


def test_matplotlib_is_optional(tmp_path: Path, shards: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    result = run_stats(shards, "--plot", tmp_path / "a.png")
    assert result.exit_code == 1
    assert "pip install 'pilarnet-clr[plot]'" in result.stderr


def test_no_shards(tmp_path: Path):
    result = run_stats(tmp_path / "none")
    assert (result.exit_code, result.stdout) == (1, "")
    assert result.stderr.startswith(f"error: {tmp_path / 'none'}: no such folder; make shards with")
