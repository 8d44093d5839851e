"""MeV or GeV: determined from masses and momenta, forced, converted, or warned of."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pilarnet_convert.readers.units import Truth, Units, units_of
from tests.conftest import SHARED
from tests.pilarnet_convert.larcv3_files import Event, random_events, write_larcv3
from tests.pilarnet_convert.outputs import read_particles, run_convert, run_stats

#: MeV, from the tables of the Particle Data Group.
MASSES = {11: 0.511, -11: 0.511, 2212: 938.272, 22: 0.0, 13: 105.658, 211: 139.570, -211: 139.570}
ELECTRON = SHARED.parent / "real" / "electron.root"


def truth_of(codes: list[int], momenta: list[float], *, energy: float, momentum: float) -> Truth:
    """Make particles of momenta in MeV/c, given in units of so many MeV."""
    masses = np.array([MASSES.get(code, 1000.0) for code in codes])
    sizes = np.array(momenta)
    return Truth(
        np.array(codes, np.int32),
        (np.hypot(masses, sizes) / energy).astype(np.float32),
        np.stack([sizes / momentum, 0 * sizes, 0 * sizes], axis=1).astype(np.float32),
    )


codes = st.lists(st.sampled_from([*MASSES, 321, 1000010020]), min_size=1, max_size=8)


@given(codes, st.data())
def test_true_units_are_found(species: list[int], data: Any):
    momenta = [data.draw(st.floats(1, 5000)) for _ in species]
    assert units_of(truth_of(species, momenta, energy=1, momentum=1)) == Units()
    for unit, momentum in (("GeV", 1000), ("MeV", 1)):
        truth = truth_of(species, momenta, energy=1000, momentum=momentum)
        below = any(
            np.hypot(MASSES[code], p) / 1000 < 0.98 * MASSES[code]
            for code, p in zip(species, momenta, strict=True)
            if code in MASSES
        )
        if below:
            assert units_of(truth) == Units(energy="GeV", momentum=unit)


def test_neither_is_right():
    """A kinetic energy is below the mass, and does not fit any momentum if it is in GeV."""
    truth = truth_of([2212, 13], [300.0, 400.0], energy=1, momentum=1)
    kinetic = truth.energy_init - np.array([938.272, 105.658], np.float32)
    assert units_of(truth._replace(energy_init=kinetic)) is None
    one_wrong = truth_of([2212, 13], [300.0, 400.0], energy=1000, momentum=1000)
    one_wrong.energy_init[1] *= 1.1
    assert units_of(one_wrong) is None


def test_what_is_not_known_is_passed_over():
    truth = truth_of([2212, 13, 2212], [300.0, 400.0, 1.0], energy=1000, momentum=1)
    truth.energy_init[2] = np.nan
    assert units_of(truth) == Units(energy="GeV", momentum="MeV")
    assert units_of(truth._replace(energy_init=truth.energy_init * np.nan)) == Units()


@pytest.mark.skipif(not ELECTRON.exists(), reason="the real files are not here")
def test_a_real_file_of_both_units():
    import uproot

    tree = uproot.open(ELECTRON)["particle_mctruth_tree"]
    branches = {b.name: b for b in tree.itervalues(recursive=True)}
    pdg, energy, *momentum = (
        np.concatenate(list(branches[f"_part_v.{name}"].array(library="np")))
        for name in ("_pdg", "_energy_init", "_px", "_py", "_pz")
    )
    truth = Truth(pdg, energy.astype(np.float32), np.stack(momentum, axis=1).astype(np.float32))
    assert units_of(truth) == Units(energy="GeV", momentum="MeV")


def events_in(energy: float, momentum: float) -> list[Event]:
    """Return events whose energies and momenta are in units of so many MeV and MeV/c."""
    events = random_events(4)
    for event in events:
        rows = event.particles
        rows["pdg"] = 2212
        size = np.sqrt(sum(rows[f"p{axis}"] ** 2 for axis in "xyz"))
        rows["energy_init"] = np.hypot(MASSES[2212], size) / energy
        rows["energy_deposit"] /= energy
        for axis in "xyz":
            rows[f"p{axis}"] /= momentum
    return events


@pytest.mark.parametrize(("unit", "momentum"), [("GeV", 1000), ("MeV", 1)])
@pytest.mark.parametrize("option", ["auto", "GeV"])
def test_a_source_in_gev_is_converted_and_said(
    tmp_path: Path, unit: str, momentum: float, option: str
):
    wanted, out = tmp_path / "wanted", tmp_path / "out"
    arguments = ("--workers", 1, "--min-voxels", 1)
    path = write_larcv3(tmp_path / "mev.h5", events_in(1, 1))
    assert run_convert("--input", path, "--out", wanted, *arguments).exit_code == 0
    path = write_larcv3(tmp_path / "gev.h5", events_in(1000, momentum))
    result = run_convert("--input", path, "--out", out, *arguments, "--energy-unit", option)
    assert (result.exit_code, result.stderr) == (0, "")
    line = f"gev.h5: energies in GeV, momenta in {unit}/c, converted to MeV"
    assert result.stdout.splitlines()[-3] == line
    assert line in run_stats(out).stdout
    root = json.loads((out / "zarr.json").read_text())["attributes"]
    assert root["sources"][0]["units"] == {"energy": "GeV", "momentum": unit}
    ours, theirs = (
        {(p["entry"], p["cluster"]): p for p in read_particles(folder)} for folder in (out, wanted)
    )
    assert ours.keys() == theirs.keys()
    for key, particle in ours.items():
        for name in ("energy_init", "energy_deposit", "momentum"):
            assert np.allclose(particle[name], theirs[key][name], rtol=1e-6)
        assert particle["energy"].tobytes() == theirs[key]["energy"].tobytes()


def test_one_warning_where_some_fit_neither(tmp_path: Path):
    events = events_in(1, 1)
    for entry in (3, 5):
        events[entry].particles["energy_init"][:2] = 500
    path = write_larcv3(tmp_path / "a.h5", events)
    out = tmp_path / "out"
    result = run_convert("--input", path, "--out", out, "--workers", 1)
    assert result.exit_code == 0
    count = sum(min(len(events[entry].particles), 2) for entry in (3, 5))
    assert result.stdout.splitlines()[-3] == (
        f"warning: {count} particles have a total energy below their mass, the first in a.h5, "
        "entry 3; see --energy-unit"
    )
    path = write_larcv3(tmp_path / "b.h5", events_in(1000, 1000))
    result = run_convert(
        *("--input", path, "--out", tmp_path / "forced", "--workers", 1, "--energy-unit", "MeV")
    )
    assert "warning" in result.stdout
    assert "converted" not in result.stdout


def test_a_late_particle_decides(tmp_path: Path):
    """The first events have photons only, which have no mass: all others are read."""
    events = events_in(1000, 1000) * 40
    for event in events[:-1]:
        event.particles["pdg"] = 22
    events[-1] = events_in(1000, 1000)[-1]
    path = write_larcv3(tmp_path / "a.h5", events)
    result = run_convert("--input", path, "--out", tmp_path / "out", "--workers", 1)
    assert "a.h5: energies in GeV" not in result.stdout  # the photons' energies fit no momentum
    assert "warning: " in result.stdout
    for event in events[:-1]:
        size = np.sqrt(sum(event.particles[f"p{axis}"] ** 2 for axis in "xyz"))
        event.particles["energy_init"] = size
    path = write_larcv3(tmp_path / "b.h5", events)
    result = run_convert("--input", path, "--out", tmp_path / "out2", "--workers", 1)
    assert "b.h5: energies in GeV" in result.stdout
