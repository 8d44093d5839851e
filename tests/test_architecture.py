"""The rules of the structure: who may import what, in which direction, and how large things are."""

from __future__ import annotations

import ast
import re
import sys
from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

#: The packages, and those that each may import.
PACKAGES: dict[str, tuple[str, ...]] = {
    "pilarnet_convert": (),
    "clr_train": ("pilarnet_convert",),
    "clr_eval": ("pilarnet_convert", "clr_train"),
    "pilarnet_view": ("pilarnet_convert", "clr_train"),
}

#: Libraries that the code is written in, and where: packages, folders or modules.
BASIS: dict[str, tuple[str, ...]] = {
    "numpy": tuple(PACKAGES),
    "torch": ("clr_train", "clr_eval", "pilarnet_view.augmented"),
    "click": (
        "pilarnet_convert.console.command",
        "pilarnet_convert.console.flags",
        "pilarnet_convert.cli",
        "pilarnet_convert.download.cli",
        "pilarnet_convert.export.cli",
        "clr_train.cli",
        "clr_train.export.cli",
        "clr_eval.cli",
        "clr_eval.study.cli",
        "pilarnet_view.cli",
    ),
    "lazy_loader": ("pilarnet_convert", "clr_train", "clr_eval"),
}

#: Every other library: the module that imports it, or a few, each for a reason of its own.
OWNERS: dict[str, tuple[str, ...]] = {
    "requests": ("pilarnet_convert.download.web",),
    "uproot": ("pilarnet_convert.readers.root_file",),
    "awkward_cpp": ("pilarnet_convert.readers.decode",),
    # Particles as Awkward Arrays: returned to the user, or written to parquet files.
    "awkward": ("pilarnet_convert.shards.records", "pilarnet_convert.export.parquet"),
    # Two tables: a row for each particle, and a row for each class and split.
    "pandas": ("pilarnet_convert.shards.frames", "pilarnet_convert.shards.statistics"),
    "tabulate": ("pilarnet_convert.shards.tables",),
    "cramjam": ("pilarnet_convert.readers.baskets",),
    "xxhash": ("pilarnet_convert.readers.baskets",),
    "deflate": ("pilarnet_convert.readers.baskets",),
    "numcodecs": ("pilarnet_convert.shards.array",),
    "google_crc32c": ("pilarnet_convert.shards.array",),
    "distributed": ("pilarnet_convert.executors.dask",),
    "fsspec": ("pilarnet_convert.storage.connection",),
    "aiohttp": ("pilarnet_convert.storage.connection",),
    "matplotlib": ("pilarnet_convert.pictures",),
    "particle": ("pilarnet_convert.species",),
    "tqdm": ("pilarnet_convert.console.progress",),
    "hdf5plugin": ("pilarnet_convert.readers.hdf5.file",),
    # One module reads HDF5; the others write a format each: events, and features.
    "h5py": (
        "pilarnet_convert.readers.hdf5.file",
        "pilarnet_convert.export.pilarnet_m",
        "clr_eval.embedding.files",
    ),
    # One module reads parquet; the others write a format each: particles, and features.
    "pyarrow": (
        "pilarnet_convert.readers.pilarnet_m.tables",
        "pilarnet_convert.export.parquet",
        "clr_eval.embedding.files",
    ),
    "zarr": ("clr_eval.embedding.files",),
    "tomli_w": ("clr_train.config",),
    "threadpoolctl": ("clr_train.probe.classifiers",),
    "sklearn": ("clr_train.probe.classifiers",),
    "safetensors": ("clr_train.export.files",),
    "torch.utils.tensorboard": ("clr_train.training.trackers",),
    "wandb": ("clr_train.training.trackers",),
    "MinkowskiEngine": ("clr_train.sparse.minkowski_engine",),
    # A kernel is beside the code in PyTorch that it replaces; one module asks whether Triton works.
    "triton": (
        "clr_train.runtime.kernels",
        "clr_train.sparse.triton_depthwise",
        "clr_train.network.triton_response_norm",
        "clr_train.triton_keys",
    ),
    "plotly": ("pilarnet_convert.shards.figure",),
}

#: Modules that import by a name that is known only when they run, and what they import.
BY_NAME: dict[str, str] = {
    "pilarnet_convert.readers.dlp.packages": "ROOT, LArCV2 and dlp_opendata_api, which may print",
    "pilarnet_convert.export.exporting": "the module of the format that is chosen",
}


def _modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = _modules()
TREES = {name: ast.parse(path.read_text()) for name, path in MODULES.items()}


def _imported(node: ast.AST) -> Iterator[str]:
    """Name what the code imports, in functions and by name too, but not for type checking alone."""
    if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
        return
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
    if isinstance(node, ast.ImportFrom):
        assert node.module
        assert node.level == 0
        names = {f"{node.module}.{alias.name}" for alias in node.names}
        yield from names & MODULES.keys()
        if not names <= MODULES.keys():  # something of the module itself
            yield node.module
    if isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
        yield node.args[0].value if isinstance(node.args[0], ast.Constant) else "?"
    for child in ast.iter_child_nodes(node):
        yield from _imported(child)


def _public(tree: ast.Module) -> set[str] | None:
    """Return the names in ``__all__``, None where there is no such list."""
    for node in tree.body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return set(ast.literal_eval(node.value))
    return None


IMPORTS = {name: set(_imported(tree)) for name, tree in TREES.items()}
#: What each module imports of the project.
INNER = {name: found & MODULES.keys() - {name} for name, found in IMPORTS.items()}


def _package(module: str) -> str:
    return module.partition(".")[0]


def _is_inside(module: str, place: str) -> bool:
    return module == place or module.startswith(f"{place}.")


def _libraries(module: str) -> set[str]:
    """List the outside libraries that a module imports, as they are called here."""
    found = set()
    for name in IMPORTS[module]:
        owned = [library for library in OWNERS if _is_inside(name, library)]
        library = max(owned, key=len, default=_package(name))
        if library not in {*sys.stdlib_module_names, *PACKAGES, "?"}:
            found.add(library)
    return found


def _levels(graph: Mapping[str, set[str]]) -> dict[str, int]:
    """Return each node one level more than the highest that it imports; a cycle raises."""
    levels: dict[str, int] = {}
    for name in TopologicalSorter(graph).static_order():
        levels[name] = 1 + max((levels[other] for other in graph.get(name, ())), default=0)
    return levels


def test_every_library_has_its_place():
    users: dict[str, set[str]] = {}
    for module in MODULES:
        for library in _libraries(module):
            users.setdefault(library, set()).add(module)
    assert users.keys() == BASIS.keys() | OWNERS.keys()
    for library, places in BASIS.items():
        for place in places:
            assert any(_is_inside(module, place) for module in users[library]), (library, place)
        for module in users[library]:
            assert any(_is_inside(module, place) for place in places), (library, module)
    for library, owners in OWNERS.items():
        assert users[library] == set(owners), library


def test_imports_by_name_are_known():
    assert {module for module, found in IMPORTS.items() if "?" in found} == BY_NAME.keys()


def test_packages_import_one_way():
    for module, others in INNER.items():
        allowed = {_package(module), *PACKAGES[_package(module)]}
        assert {_package(other) for other in others} <= allowed, module


def test_modules_list_what_others_import():
    public = {name: _public(tree) for name, tree in TREES.items()}
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (names := public.get(node.module or "")):
                imported = {alias.name for alias in node.names}
                submodules = {n for n in imported if f"{node.module}.{n}" in MODULES}
                assert imported - submodules <= names, (module, node.module)


FOLDERS = sorted(name for name, path in MODULES.items() if path.name == "__init__.py")


@pytest.mark.parametrize("folder", FOLDERS)
def test_folders_import_one_way(folder: str):
    """In each folder, its modules and its folders, each taken as a whole, import one way."""

    def member(module: str) -> str | None:
        if module == folder:
            return folder
        if not _is_inside(module, folder):
            return None
        return module.removeprefix(f"{folder}.").partition(".")[0]

    graph: dict[str, set[str]] = {}
    for module, others in INNER.items():
        if (one := member(module)) is not None:
            graph.setdefault(one, set()).update(
                other for other in map(member, others) if other is not None and other != one
            )
    _levels(graph)


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_one_way_in_few_levels(package: str):
    """No module imports itself by way of others; the commands stand on ten levels at most."""
    levels = _levels(
        {
            name: {other for other in others if _is_inside(other, package)}
            for name, others in INNER.items()
            if _is_inside(name, package)
        }
    )
    commands = (f"{package}.cli", f"{package}.__main__")
    highest = max(levels.keys() - set(commands), key=lambda name: levels[name])
    assert levels[highest] <= 10, highest


@pytest.mark.parametrize("folder", FOLDERS)
def test_the_docstring_of_a_folder_names_its_modules(folder: str):
    text = ast.get_docstring(TREES[folder]) or ""
    inside = [m.removeprefix(f"{folder}.") for m in MODULES if m.startswith(f"{folder}.")]
    modules = {name for name in inside if "." not in name and name != "__main__"}
    assert not {name for name in modules if not re.search(rf"\b{name}\b", text)}


def test_folders_and_files_are_small():
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.*"):
            if path.suffix in (".py", ".js", ".css", ".html"):
                assert len(path.read_text().splitlines()) <= 300, path
    for folder in FOLDERS:
        modules = [path for path in MODULES[folder].parent.glob("*.py") if path.stem[0] != "_"]
        assert len(modules) <= 15, folder


#: Modules of the standard library that have owners too: processes and locks. A run of training has
#: processes of its own, which stay connected.
STANDARD = {
    "multiprocessing": {"pilarnet_convert.executors.local", "clr_train.stream.loader"},
    "subprocess": {"pilarnet_convert.console.run_log"},
    "fcntl": {"pilarnet_convert.files"},
}


def test_few_modules_start_processes():
    for library, owners in STANDARD.items():
        users = {name for name, found in IMPORTS.items() if library in map(_package, found)}
        assert users == owners, library


#: What renames, removes or links files, or waits for the disk.
FILE_CALLS = {
    *(f"os.{name}" for name in ("replace", "rename", "remove", "link", "fsync", "sync")),
    *(f"shutil.{name}" for name in ("rmtree", "move")),
    *("path.replace", "path.rename"),
}
FILE_METHODS = {"unlink", "rmdir"}


def test_one_module_changes_files():
    for module, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, ast.Attribute) and module != "pilarnet_convert.files":
                assert node.attr not in FILE_METHODS, (module, node.lineno)
                assert ast.unparse(node) not in FILE_CALLS, (module, node.lineno)
