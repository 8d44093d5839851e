"""``pilarnet-convert --check``: one row per input, nothing written, and what is wrong below."""

from __future__ import annotations

import shutil
from pathlib import Path

import h5py
import pytest

from tests import damage
from tests.pilarnet_convert.inputs import SPLIT
from tests.pilarnet_convert.larcv3_files import random_events as larcv3_events
from tests.pilarnet_convert.larcv3_files import write_larcv3
from tests.pilarnet_convert.outputs import run_convert
from tests.pilarnet_convert.pilarnet_m_files import random_events, write_hdf5, write_parquet
from tests.pilarnet_convert.test_units import events_in
from tests.sample import SAMPLE


def rows(text: str) -> dict[str, list[str]]:
    """Return the cells of each row by the name of its file, without the head."""
    lines = text.split("\n\n")[0].splitlines()[1:]
    cells = [[cell.strip() for cell in line.split("  ") if cell.strip()] for line in lines]
    return {Path(row[0]).name: row[1:] for row in cells}


def test_good_files(tmp_path: Path):
    folder = tmp_path / "in"
    shutil.copytree(SPLIT.parent, folder / "archive", ignore=shutil.ignore_patterns("*.csv"))
    shutil.copy(SAMPLE, folder / "a.root")
    write_larcv3(folder / "b.h5", larcv3_events(1))
    write_larcv3(folder / "c.h5", events_in(1000, 1000))
    write_hdf5(folder / "d.h5", random_events(1), revision="v2")
    write_parquet(folder / "e.parquet", random_events(1), event_id=[1, 2, 3, 4, 5, 6] * 2)
    result = run_convert("--input", folder, "--check", "--workers", 1)
    assert (result.exit_code, result.stderr) == (0, "")
    larcv = "cluster3d_mcst and particle_mcst"
    assert rows(result.stdout) == {
        "a.root": [f"LArCV2, {larcv}", "20", "0", "MeV", "good"],
        "dlprod_cluster_512px_00.root": [f"LArCV2, {larcv}", "15", "0", "MeV", "good"],
        "b.h5": [f"LArCV3, {larcv}", "7", "0", "MeV", "good"],
        "c.h5": [f"LArCV3, {larcv}", "7", "0", "GeV", "good"],
        "d.h5": ["PILArNet-M v2", "12", "0", "MeV", "good"],
        "e.parquet": ["PILArNet-M v3", "12", "12", "MeV", "good"],
    }
    assert [p.name for p in tmp_path.iterdir()] == ["in"]


def test_what_is_wrong(tmp_path: Path):
    copy = Path(shutil.copy(SAMPLE, tmp_path / "copy.root"))
    truncated = damage.truncated(SAMPLE, tmp_path / "cut.root", size=-1000)
    other = damage.with_own_uuid(
        damage.with_id(
            SAMPLE,
            tmp_path / "other.root",
            tree=damage.PARTICLES,
            entry=3,
            field="event",
            value=77,
        )
    )
    shorter = write_larcv3(tmp_path / "shorter.h5", larcv3_events(1))
    with h5py.File(shorter, "r+") as file:
        ids = file["Events/event_id"][:-1]
        del file["Events/event_id"]
        file["Events/event_id"] = ids
    doubtful = events_in(1, 1)
    doubtful[0].particles["energy_init"] = 500
    doubtful = write_larcv3(tmp_path / "doubtful.h5", doubtful)
    inputs = [SAMPLE, copy, truncated, other, shorter, doubtful, SAMPLE]
    result = run_convert("--input", *inputs, "--check", "--workers", 1)
    assert result.exit_code == 1
    assert result.stderr == "error: 5 of 7 inputs cannot be converted\n"
    found = rows(result.stdout)
    assert found["copy.root"][-1] == "named twice"
    assert found["cut.root"] == ["-", "-", "0", "-", "truncated"]
    assert found["other.root"][-1] == "the products hold different events"
    assert found["shorter.h5"][-1] == "the products differ in length"
    assert found["doubtful.h5"][-2:] == ["MeV, some below the mass", "good"]
    faults = result.stdout.strip().split("\n\n")[1:]
    assert len(faults) == 5
    for fault, path in zip(faults, (SAMPLE, copy), strict=False):  # a file's two names together
        assert fault == f"{path}: the same content as {SAMPLE}; see --allow-duplicates"
    assert faults[3].startswith(f"{other}: entry 3: particle_mcst_tree: the products hold")
    result = run_convert("--input", SAMPLE, copy, "--check", "--workers", 1, "--allow-duplicates")
    assert result.exit_code == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_many_files(tmp_path: Path, workers: int):
    for number in range(12):
        write_larcv3(tmp_path / f"{number:02d}.h5", larcv3_events(number))
    result = run_convert("--input", tmp_path, "--check", "--workers", workers)
    assert result.exit_code == 0
    assert list(rows(result.stdout)) == [f"{number:02d}.h5" for number in range(12)]


def test_out_is_needed_without_it():
    result = run_convert("--input", SAMPLE)
    assert result.exit_code == 2
    assert "Missing option '--out'" in result.stderr
