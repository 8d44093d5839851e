"""One particle of a set of shards, and sequences of particles."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import counted
from pilarnet_convert.shards.format import ARRAYS, VOXEL_ARRAYS
from pilarnet_convert.species import CLASS_NAMES

if TYPE_CHECKING:
    import awkward
    import pandas

    from pilarnet_convert.shards.shard import Shard

__all__ = ["BLOCK", "Particle", "ParticleSequence"]

#: The number of particles that an iteration reads at once.
BLOCK: Final = 4096


@dataclass(frozen=True, eq=False, kw_only=True)
class Particle:
    """One particle.

    Attributes
    ----------
    split : str
        Its split.
    index : int
        Its index in the split, in the order of the shards.
    xyz : int32 array [V, 3]
        Its voxels, as indices inside the event's cube.
    energy : float32 array [V]
        Energy deposited in each, MeV.
    columns : mapping of str to object
        Its value in each array that has one row per particle; ``process`` is the name of the
        process. ``particle["pdg"]`` gives one of them.
    """

    split: str
    index: int
    xyz: NDArray[np.int32]
    energy: NDArray[np.float32]
    columns: Mapping[str, Any]

    @property
    def label(self) -> int:
        """Its class, as `pilarnet_convert.species.CLASSES` numbers them."""
        return int(self.columns["label"])

    @property
    def species(self) -> str:
        """The name of its class."""
        return CLASS_NAMES[self.label]

    def __getitem__(self, name: str) -> Any:
        if name not in self.columns:
            raise KeyError(f"no column {name!r}; there are {', '.join(self.columns)}")
        return self.columns[name]

    def __len__(self) -> int:
        return len(self.energy)

    @property
    def summary(self) -> str:
        """Which particle it is, its species and its size, in words."""
        return (
            f"{self.split} {self.index}: {self.species}, {counted(len(self), 'voxel')}, "
            f"{self.energy.sum(dtype=np.float64):,.1f} MeV"
        )

    def __repr__(self) -> str:
        return f"<Particle {self.summary}>"

    def show(self) -> Any:
        """Draw the particle as a plotly figure, which a notebook shows.

        Raises
        ------
        MissingDependencyError
            If plotly is not installed.
        """
        from pilarnet_convert.shards.figure import particle_figure

        return particle_figure(self)


class ParticleSequence:
    """The particles of some shards, in order: with a length, an index, and iteration.

    Parameters
    ----------
    shards : sequence of Shard
        The shards.
    """

    def __init__(self, shards: Sequence[Shard]) -> None:
        self._shards = shards

    def __repr__(self) -> str:
        return f"<{counted(len(self), 'particle')} of {counted(len(self._shards), 'shard')}>"

    @cached_property
    def _ends(self) -> list[int]:
        """Where the particles of each shard end in the sequence."""
        return list(accumulate(shard.num_particles for shard in self._shards))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: Any) -> Any:
        """Read a particle, or a slice as a list of particles."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return [self[i] for i in range(start, stop, step)]
            return list(self._between(start, stop))
        try:
            position = range(len(self))[index]  # below 0 it counts from the end
        except IndexError:
            raise IndexError(f"there is no particle {index} of {len(self)}") from None
        except TypeError:
            raise TypeError(
                f"particles are indexed by integers and slices, not by {type(index).__name__}"
            ) from None
        number = bisect_right(self._ends, position)
        shard = self._shards[number]
        row = position - (self._ends[number] - shard.num_particles)
        return next(_particles(shard, row, row + 1))

    def __iter__(self) -> Iterator[Particle]:
        return self._between(0, len(self))

    def _between(self, start: int, stop: int) -> Iterator[Particle]:
        """Read the particles `start` to `stop`, block by block."""
        for shard, end in zip(self._shards, self._ends, strict=True):
            first = end - shard.num_particles
            low, high = max(start - first, 0), min(stop - first, shard.num_particles)
            for block in range(low, high, BLOCK):
                yield from _particles(shard, block, min(block + BLOCK, high))

    def blocks(
        self, names: Sequence[str] = tuple(ARRAYS), *, size: int = BLOCK
    ) -> Iterator[dict[str, NDArray[Any]]]:
        """Read blocks of consecutive particles of a shard.

        Parameters
        ----------
        names : sequence of str
            Arrays of the format; all of them by default.
        size : int
            The number of particles of a block, at least 1. The last of a shard may have fewer.

        Yields
        ------
        dict of str to array
            As from `Shard.read`. The values of ``process`` index the names of its shard.
        """
        if size < 1:
            raise ValueError(f"size: expected 1 or more, found {size}")
        for shard in self._shards:
            for start in range(0, shard.num_particles, size):
                yield shard.read(names, start, start + size)

    def to_awkward(self) -> awkward.Array:
        """Read all as an Awkward Array with one record per particle.

        ``x``, ``y``, ``z`` and ``energy`` are lists, vectors have three values, and ``process`` is
        the name of the creation process.
        """
        from pilarnet_convert.shards.records import to_awkward  # imports Awkward Array

        return to_awkward(self._shards)

    def to_pandas(self) -> pandas.DataFrame:
        """Read all but the voxels as a table with one row per particle.

        A vector becomes three columns, such as ``momentum_x``. ``split``, ``species`` and
        ``process`` are names; ``num_voxels`` is the number of voxels.
        """
        from pilarnet_convert.shards.frames import to_pandas  # imports pandas

        return to_pandas(self._shards)


def _particles(shard: Shard, start: int, stop: int) -> Iterator[Particle]:
    """Read the particles `start` to `stop` of a shard."""
    block = shard.read(start=start, stop=stop)
    offset = block["offset"]
    xyz = np.stack([block[axis] for axis in "xyz"], axis=1).astype(np.int32)
    names = [name for name in block if name not in VOXEL_ARRAYS and name != "offset"]
    for row in range(stop - start):
        voxels = slice(offset[row], offset[row + 1])
        columns = {name: block[name][row] for name in names}
        columns["process"] = shard.process_names[columns["process"]]
        yield Particle(
            split=shard.split,
            index=shard.first + start + row,
            xyz=xyz[voxels],
            energy=block["energy"][voxels],
            columns=columns,
        )
