"""ROOT, LArCV2 and dlp_opendata_api: found, imported, and kept from printing.

Each of the three is installed by hand. Which ones are missing is found before any is imported.
"""

from __future__ import annotations

import contextlib
import importlib
import importlib.util
import io
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from pilarnet_convert.errors import MissingDependencyError, brief

__all__ = ["Packages", "load_packages", "quiet"]

#: How to install each package; each needs those before it.
_PACKAGES: Final = {
    "ROOT": "install ROOT with PyROOT (https://root.cern/install) and source its thisroot.sh",
    "larcv": "build https://github.com/DeepLearnPhysics/larcv2 and source its configure.sh",
    "osf": "clone https://github.com/DeepLearnPhysics/dlp_opendata_api and add the clone to "
    "PYTHONPATH",
}
#: How to recognise another package of the same name: a file, whether the other one has it, and
#: what to say then.
_OTHERS: Final = {
    "larcv": ("queueloader.py", True, "this is LArCV3, which reads HDF5, not LArCV2"),
    "osf": ("analysis_apis.py", False, "this is another package named osf, not dlp_opendata_api"),
}


@dataclass(frozen=True, kw_only=True)
class Packages:
    """The three packages: the modules ``ROOT`` and ``osf.analysis_apis``, the C++ ``larcv``."""

    root: Any
    larcv: Any
    osf: Any


def load_packages() -> Packages:
    """Import ROOT, LArCV2 and dlp_opendata_api.

    Raises
    ------
    MissingDependencyError
        If one is not installed, is another package of the same name, or cannot be imported.
    """
    specs = {name: importlib.util.find_spec(name) for name in _PACKAGES}
    missing = [name for name, spec in specs.items() if spec is None]
    if missing:
        are = "is" if len(missing) == 1 else "are"
        raise _error(
            f"--reader dlp needs {', '.join(_PACKAGES)}, of which {', '.join(missing)} {are} "
            "not on Python's path",
            advice=", ".join(_PACKAGES[name] for name in missing),
        )
    for name, (file, in_other, problem) in _OTHERS.items():
        folders = [Path(p) for p in getattr(specs[name], "submodule_search_locations", None) or ()]
        if any((folder / file).exists() for folder in folders) == in_other:
            where = ", ".join(map(str, folders)) or getattr(specs[name], "origin", None)
            raise _error(problem, file=where, field=name, advice=_PACKAGES[name])
    root = _import("ROOT")
    # PyROOT would otherwise take the command's own options, and open a display.
    root.PyConfig.IgnoreCommandLineOptions = True
    root.gROOT.SetBatch(True)
    larcv = getattr(_import("larcv"), "larcv", None)
    # `load_pyutil` loads the functions that take numpy arrays. Some also exist in an older version
    # without numpy; `fill_3d_voxels` does not, so it is the one tested.
    if not hasattr(larcv, "load_pyutil") or not hasattr(larcv, "fill_3d_voxels"):
        raise _error(
            "this LArCV2 was built without numpy",
            field="larcv.fill_3d_voxels",
            advice="build it again where numpy is installed",
        )
    return Packages(root=root, larcv=larcv, osf=_import("osf.analysis_apis"))


def _import(name: str) -> Any:
    """Import a package that may print, raise any error, or end the interpreter."""
    printed = io.StringIO()
    try:
        with contextlib.redirect_stdout(printed), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(name)
    except (Exception, SystemExit) as error:
        package = name.partition(".")[0]
        raise _error(
            "is on Python's path but does not import",
            field=package,
            found=brief(error, printed=printed.getvalue()),
            advice=_PACKAGES[package],
        ) from error


def _error(problem: str, *, advice: str, **details: Any) -> MissingDependencyError:
    advice += ", or leave --reader dlp out: the native reader needs none of them"
    return MissingDependencyError(problem, advice=advice, **details)


@contextlib.contextmanager
def quiet(root: Any) -> Iterator[None]:
    """Silence the packages until the end of the block; our own errors say what is wrong."""
    before = root.gErrorIgnoreLevel
    root.gErrorIgnoreLevel = root.kFatal
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        root.gErrorIgnoreLevel = before
