"""Every kind of damage to an input, and the message that must report it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np

from tests import damage
from tests.sample import SAMPLE

BOTH = (damage.CLUSTERS, damage.PARTICLES)
LAST = 19  # the last event of the sample; its last cluster with a particle is 1


class Fault(NamedTuple):
    """A kind of damage, and what the line about it must contain, in this order."""

    make: Callable[[Path], Path]
    says: tuple[str, ...]


def fault(function: Callable[..., Path], *says: str, **kwargs: object) -> Fault:
    return Fault(
        lambda target: damage.with_own_uuid(function(SAMPLE, target, **kwargs)),
        says,
    )


FAULTS = {
    "not-a-root-file": Fault(
        damage.not_root,
        (
            "not a kind of file",
            "expected ROOT, HDF5 or parquet",
            "found",
            "<!DO",
            "name LArCV2",
        ),
    ),
    "no-bytes": Fault(damage.empty, ("not a kind of file", "found an empty file")),
    "truncated-by-a-byte": fault(
        damage.truncated, "truncated", "expected 472833 bytes", "found 472832", "again", size=-1
    ),
    "truncated-in-the-middle": fault(
        damage.truncated, "truncated", "expected 472833 bytes", "found 200000", size=200_000
    ),
    "truncated-in-the-header": fault(damage.truncated, "", size=40),
    "not-closed": fault(damage.not_closed, "was not closed by its writer", "let ROOT recover it"),
    "no-clusters": fault(
        damage.without_product,
        *("cluster3d_mcst_tree", "a product is missing", "particle_mcst_tree", "put the file"),
        tree=damage.CLUSTERS,
    ),
    "no-particles": fault(
        damage.without_product,
        *("particle_mcst_tree", "a product is missing", "cluster3d_mcst_tree", "put the file"),
        tree=damage.PARTICLES,
    ),
    "shorter-clusters": fault(
        damage.with_entries,
        *("the products differ in length", "expected as many", "found", "7", "20", "the same prod"),
        count=7,
        trees=BOTH[:1],
    ),
    "shorter-particles": fault(
        damage.with_entries, "the products differ in length", "20", "7", count=7, trees=BOTH[1:]
    ),
    "no-events": fault(damage.with_entries, "no events", "leave the file out", count=0, trees=BOTH),
    **{
        f"other-{field}": fault(
            damage.with_id,
            *("entry 19", "hold different events", "expected run, subrun, event", "found", "77"),
            tree=damage.PARTICLES,
            entry=LAST,
            field=field,
            value=77,
        )
        for field in ("subrun", "event")
    },
    "a-cluster-too-few": fault(
        damage.without_clusters,
        *("entry 19", "clusters and particles do not match", "expected", "or one more", "found"),
        entry=LAST,
        clusters=[0, 1],
    ),
    "a-particle-too-few": fault(
        damage.without_particles,
        *("entry 19", "clusters and particles do not match", "expected", "or one more", "found"),
        entry=LAST,
        particles=[0],
    ),
    "voxel-beyond-the-cube": fault(
        damage.with_voxel_id,
        *("entry 19", "outside its cube", "expected an id below 192 x 192 x 192 = 7077888"),
        *("found 7077888", "--skip-bad-files"),
        entry=LAST,
        cluster=0,
        voxel=0,
        value=192**3,
    ),
    "voxel-beyond-all-cubes": fault(
        damage.with_voxel_id,
        *("entry 19", "outside its cube"),
        entry=LAST,
        cluster=0,
        voxel=0,
        value=2**64 - 1,
    ),
    **{
        f"{value}-in-a-voxel": fault(
            damage.with_energy,
            *("entry 19", "no finite energy", "expected a number of MeV", f"found {value}"),
            "--skip-bad-files",
            entry=LAST,
            cluster=0,
            voxel=0,
            value=value,
        )
        for value in (np.nan, -np.inf)
    },
    **{
        f"{value}-in-{field}": fault(
            damage.with_field,
            *("entry 19", field[1:], "no finite energy", "expected a number", f"found {value}"),
            "--skip-bad-files",
            entry=LAST,
            particle=0,
            field=field,
            code="d",
            value=value,
        )
        for field, value in (("_energy_deposit", np.nan), ("_energy_init", np.inf))
    },
    "broken-voxels": fault(
        damage.with_broken_basket, "cluster3d_mcst_tree/_voxel_vv._voxel_v", "damaged", basket=10
    ),
    "broken-pdg": fault(
        damage.with_broken_basket,
        *("particle_mcst_tree/_part_v._pdg", "damaged here", "found", "again"),
        tree=damage.PARTICLES,
        branch="_part_v._pdg",
    ),
    "a-count-that-runs-over": fault(
        damage.with_voxel_count, "_voxel_vv._voxel_v", "damaged here", entry=LAST, value=2**31
    ),
    **{
        f"{value}-MeV-in-a-voxel": fault(
            damage.with_energy,
            *("entry 19", "impossible energy", "at least 0 and at most 1e+09", f"found {value}"),
            "--skip-bad-files",
            entry=LAST,
            cluster=0,
            voxel=0,
            value=value,
        )
        for value in (-1.0, 2e9)
    },
    **{
        f"{value}-in-{field}": fault(
            damage.with_meta,
            *("entry 19", "the cube of the event", expected, f"found {value}", "--skip-bad-files"),
            entry=LAST,
            field=field,
            value=value,
        )
        for field, value, expected in (
            ("_xnum", 0, "expected at least 1 along x"),
            ("_ylen", 0.0, "above 0 and at most 10000 cm along y"),
            ("_ylen", -0.3, "above 0 and at most 10000 cm along y"),
            ("_zlen", 1e300, "above 0 and at most 10000 cm along z"),
        )
    },
    "a-cube-too-large": fault(
        damage.with_meta,
        *("entry 19", "too large for the shard format", "at most 65535", "found 70000"),
        entry=LAST,
        field="_xnum",
        value=70_000,
    ),
}
