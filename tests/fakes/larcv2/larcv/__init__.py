"""LArCV2's Python package: it loads the C++ libraries that its environment names."""

import os

import ROOT  # noqa: F401

if "LARCV_BASEDIR" not in os.environ:
    print("$LARCV_BASEDIR is not set")
    raise ImportError

import numpy as np

from tests.fakes.events import Voxel3DMeta, VoxelSet


class larcv:
    """The C++ namespace; the functions over numpy are there if it was built with numpy."""


def _as_flat_arrays(tensor, meta, index, value):
    """Write ids and values of a VoxelSet to two arrays, as C integers and floats."""
    if not (isinstance(tensor, VoxelSet) and isinstance(meta, Voxel3DMeta)):
        raise TypeError("no overload of as_flat_arrays takes these")
    for array, dtype in ((index, np.int32), (value, np.float32)):
        # The real function writes through a raw pointer: anything else corrupts memory.
        assert isinstance(array, np.ndarray)
        assert array.ndim == 1
        assert array.dtype == dtype
        assert array.flags.c_contiguous
        assert array.flags.writeable
        assert array.size >= tensor.size() > 0
    index[: tensor.size()] = tensor.ids.astype(np.int32)
    value[: tensor.size()] = tensor.values


if os.environ.get("LARCV_NUMPY") == "1":
    larcv.load_pyutil = type("load_pyutil", (), {})
    larcv.as_flat_arrays = staticmethod(_as_flat_arrays)
    larcv.fill_3d_voxels = larcv.fill_3d_pcloud = staticmethod(lambda *_: None)
else:
    larcv.as_flat_arrays = staticmethod(lambda *_: None)
