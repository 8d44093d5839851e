"""Files that larcv (LArCV3) itself writes, if ``make larcv3`` has built it."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path

import numpy as np
import pytest

from pilarnet_convert.readers.hdf5.larcv3 import index_larcv3
from tests.pilarnet_convert.outputs import REPOSITORY

PYTHON = Path(os.environ.get("LARCV3_PYTHON", REPOSITORY / ".venv-larcv3" / "bin" / "python"))
WRITER = Path(__file__).with_name("write_larcv3.py")

pytestmark = pytest.mark.larcv3


@pytest.mark.parametrize("seed", range(3))
def test_what_larcv_writes_is_read(tmp_path: Path, seed: int):
    if not PYTHON.exists():
        pytest.skip("larcv is not built: make larcv3")
    path = tmp_path / "a.h5"
    command = [PYTHON, WRITER, path, str(seed)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    wanted = json.loads(output.splitlines()[-1])
    source = index_larcv3("a", path)
    with source.open() as reader:
        events = reader.read(0, source.num_entries)
    assert events.num_events == len(wanted)
    numbers = np.stack([events.run, events.subrun, events.event], axis=1)
    assert numbers.tolist() == [[7, 8, number] for number in range(len(wanted))]
    assert set(map(tuple, events.grid.tolist())) == {(64, 48, 32)}
    assert np.allclose(events.voxel_size, 0.3)
    assert np.allclose(events.origin, [0, -1, -2])
    for entry, made in enumerate(wanted):
        first, last = events.cluster_offset[entry : entry + 2]
        particle = events.particle_offset[entry]
        assert last - first == len(made)
        assert events.particle_offset[entry + 1] - particle == len(made) - 1
        for index, cluster in enumerate(made):
            rows = slice(*events.voxel_offset[first + index : first + index + 2])
            ids = events.voxel_id[rows]
            xyz = np.stack([ids % 64, ids // 64 % 48, ids // (64 * 48)], axis=1)
            found = {tuple(v): e for v, e in zip(xyz.tolist(), events.energy[rows], strict=True)}
            assert found == {tuple(voxel[:3]): voxel[3] for voxel in cluster["voxels"]}
            if index == len(made) - 1:
                continue
            number = particle + index
            assert events.pdg[number] == cluster["pdg"]
            assert events.track_id[number] == cluster["track"]
            assert events.parent_track_id[number] == -1  # it was never set
            assert events.momentum[number].tolist() == cluster["momentum"]
            assert events.energy_init[number] == cluster["energy_init"]
            assert events.start[number].tolist() == cluster["first"]
            assert events.process_names[events.process[number]] == cluster["process"]
