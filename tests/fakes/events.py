"""LArCV2's event classes: methods instead of attributes, C++ vectors instead of lists."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, ClassVar

import numpy as np

from tests.voxelcodec import decode


class Vector:
    """A ``std::vector``: it has a size and elements, no slices and no last from the end."""

    def __init__(self, items: Sequence[Any]) -> None:
        self._items = items

    def size(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Any:
        if not 0 <= index < len(self._items):
            raise IndexError("index out of range")
        return self._items[index]


class Voxel:
    def __init__(self, id_: int, value: float) -> None:
        self._id, self._value = id_, value

    def id(self) -> int:
        return self._id

    def value(self) -> float:
        return self._value


class VoxelSet:
    def __init__(self, ids: Any, values: Any) -> None:
        self.ids, self.values = ids, values

    def size(self) -> int:
        return len(self.ids)

    def as_vector(self) -> Vector:
        return Vector([Voxel(int(i), float(v)) for i, v in zip(self.ids, self.values, strict=True)])


class Methods:
    """Gives each value by a method of its name."""

    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, lambda value=value: value)


class Voxel3DMeta(Methods):
    pass


class _Product:
    """The events of one tree; a basket that cannot be read fails when its entry is asked for."""

    def __init__(self, tree: Any) -> None:
        self.num_entries = tree.num_entries
        self._branches = {b.name: b for b in tree.itervalues(recursive=True)}
        self._values = cache(lambda name: self._branches[name].array(library="np"))

    def value(self, name: str, entry: int) -> Any:
        return self._values(name)[entry]

    def ids(self, entry: int) -> dict[str, int]:
        return {n: int(self.value(f"_{n}", entry)) for n in ("run", "subrun", "event")}


class Clusters(_Product):
    """EventClusterVoxel3D, entry by entry."""

    def load(self, entry: int) -> Methods:
        branch = self._branches["_voxel_vv._voxel_v"]
        number = int(np.searchsorted(branch.entry_offsets, entry, "right")) - 1
        basket = branch.basket(number)
        first = entry - branch.entry_offsets[number]
        start, stop = basket.byte_offsets[first : first + 2]
        sets = [VoxelSet(*voxels) for voxels in decode(bytes(basket.data[start:stop]))]
        values = {
            getter.format(axis): self.value(f"_meta.{name.format(axis)}", entry).item()
            for axis in "xyz"
            for getter, name in (
                ("num_voxel_{}", "_{}num"),
                ("min_{}", "_p1.{}"),
                ("size_voxel_{}", "_{}len"),
            )
        }
        return Methods(**self.ids(entry), meta=Voxel3DMeta(**values), as_vector=Vector(sets))


class Particles(_Product):
    """EventParticle, entry by entry."""

    NUMBERS: ClassVar = {
        "pdg_code": "_pdg",
        "track_id": "_trackid",
        "parent_track_id": "_parent_trackid",
        "energy_init": "_energy_init",
        "energy_deposit": "_energy_deposit",
        "px": "_px",
        "py": "_py",
        "pz": "_pz",
    }

    def load(self, entry: int) -> Methods:
        def field(name: str) -> Any:
            return self.value(f"_part_v.{name}", entry)

        def point(name: str, index: int) -> Methods:
            return Methods(**{axis: field(f"{name}._{axis}")[index].item() for axis in "xyz"})

        particles = [
            Methods(
                **{getter: field(name)[i].item() for getter, name in self.NUMBERS.items()},
                first_step=point("_first_step", i),
                last_step=point("_last_step", i),
                creation_process=str(field("_process")[i]),
            )
            for i in range(len(field("_pdg")))
        ]
        return Methods(**self.ids(entry), as_vector=Vector(particles))
