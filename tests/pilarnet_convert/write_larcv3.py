"""Write a LArCV3 file with larcv itself and print what was written, as JSON.

Run by the Python of ``make larcv3``, which has larcv and numpy but not this project:
``python write_larcv3.py FILE SEED``.
"""

from __future__ import annotations

import json
import random
import sys

import larcv

GRID, SIZE_CM, ORIGIN_CM = (64, 48, 32), (19.2, 14.4, 9.6), (0.0, -1.0, -2.0)
CODES = (11, 2212, 22, 13, -211, 321)


def make_event() -> list[dict]:
    """Make clusters of distinct voxels; all but the last have a particle."""
    clusters = []
    for track in range(1, random.randint(2, 6)):
        voxels = {tuple(random.randrange(n) for n in GRID) for _ in range(random.randint(0, 40))}
        clusters.append(
            {
                "voxels": [[*xyz, random.randint(1, 255) / 64] for xyz in sorted(voxels)],
                "pdg": random.choice(CODES),
                "track": track,
                "momentum": [random.randint(-500, 500) for _ in range(3)],
                "energy_init": random.randint(1000, 2000),
                "first": [random.randint(0, 100) / 8 for _ in range(3)],
                "process": random.choice(["primary", "conv"]),
            }
        )
    return clusters


def main(path: str, seed: str) -> None:
    """Write the file and print its events."""
    random.seed(int(seed))
    events = [make_event() for _ in range(5)]
    meta = larcv.ImageMeta3D()
    for axis in range(3):
        meta.set_dimension(axis, SIZE_CM[axis], GRID[axis], ORIGIN_CM[axis])
    meta.set_projection_id(0)
    manager = larcv.IOManager(larcv.IOManager.kWRITE)
    manager.set_out_file(path)
    manager.initialize()
    for number, event in enumerate(events):
        manager.set_id(7, 8, number)
        particles = manager.get_data("particle", "mcst")
        clusters = larcv.SparseCluster3D()
        clusters.meta(meta)
        for index, made in enumerate(event):
            voxels = larcv.VoxelSet()
            voxels.id(index)
            for *xyz, value in made["voxels"]:
                voxels.emplace(meta.index(xyz), value, False)
            clusters.insert(voxels)
            if index == len(event) - 1:
                break
            particle = larcv.Particle()
            particle.pdg_code(made["pdg"])
            particle.track_id(made["track"])
            particle.momentum(*map(float, made["momentum"]))
            particle.energy_init(float(made["energy_init"]))
            particle.first_step(*made["first"], 0.0)
            particle.creation_process(made["process"])
            # larcv 3.5.1 may keep letters of a longer name that was there before.
            made["process"] = particle.creation_process()
            particles.append(particle)
        manager.get_data("cluster3d", "mcst").set(clusters)
        manager.save_entry()
    manager.finalize()
    print("\n" + json.dumps(events))


if __name__ == "__main__":
    main(*sys.argv[1:])
