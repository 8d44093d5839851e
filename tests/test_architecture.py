"""The rules of the structure: imports run one way, and one module owns each outside library."""

from __future__ import annotations

import ast
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("pilarnet_convert", "clr_train", "clr_eval", "pilarnet_view")

#: The module that may import a library, or the few that read or write with it.
OWNERS: dict[str, str | tuple[str, ...]] = {
    "requests": "pilarnet_convert.download.web",
    "uproot": "pilarnet_convert.readers.root_file",
    "awkward_cpp": "pilarnet_convert.readers.decode",
    "awkward": ("pilarnet_convert.shards.frames", "pilarnet_convert.export.parquet"),
    "cramjam": "pilarnet_convert.readers.baskets",
    "xxhash": "pilarnet_convert.readers.baskets",
    "deflate": "pilarnet_convert.readers.baskets",
    "numcodecs": "pilarnet_convert.shards.array",
    "google_crc32c": "pilarnet_convert.shards.array",
    "distributed": "pilarnet_convert.executors.dask",
    "fsspec": "pilarnet_convert.storage.connection",
    "aiohttp": "pilarnet_convert.storage.connection",
    "matplotlib": "pilarnet_convert.pictures",
    "safetensors": "clr_train.export.files",
    "tensorboard": "clr_train.training.trackers",
    "wandb": "clr_train.training.trackers",
    "MinkowskiEngine": "clr_train.sparse.minkowski_engine",
    "triton": (
        "clr_train.sparse.triton_depthwise",
        "clr_train.network.triton_response_norm",
        "clr_train.triton_keys",
    ),
    "zarr": "clr_eval.embedding.files",
    "h5py": (
        "pilarnet_convert.readers.hdf5.file",
        "pilarnet_convert.export.pilarnet_m",
        "clr_eval.embedding.files",
    ),
    "hdf5plugin": "pilarnet_convert.readers.hdf5.file",
    "pyarrow": (
        "pilarnet_convert.readers.pilarnet_m.tables",
        "pilarnet_convert.export.parquet",
        "clr_eval.embedding.files",
    ),
    "particle": "pilarnet_convert.species",
    "plotly": "pilarnet_view.figure",
    "tqdm": "pilarnet_convert.console.progress",
}


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*.py")):
            name = ".".join(path.relative_to(ROOT).with_suffix("").parts)
            found[name.removesuffix(".__init__")] = path
    return found


MODULES = modules()


def imports(path: Path, *, lazy: bool = True) -> set[str]:
    """List the modules that a file imports, those of type checking left out."""
    tree = ast.parse(path.read_text())
    found: set[str] = set()

    def visit(node: ast.AST, inside: bool) -> None:
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            return
        if isinstance(node, ast.Import) and (lazy or not inside):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and (lazy or not inside) and node.module:
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found.update(names)
            if not names <= MODULES.keys():  # something of the module itself
                found.add(node.module)
        for child in ast.iter_child_nodes(node):
            visit(child, inside or isinstance(node, ast.FunctionDef))

    visit(tree, False)
    return found


def inner_imports(name: str, *, lazy: bool = True) -> set[str]:
    return {other for other in imports(MODULES[name], lazy=lazy) if other in MODULES} - {name}


@pytest.mark.parametrize("library", OWNERS)
def test_one_module_owns_each_library(library: str):
    users = {
        name
        for name, path in MODULES.items()
        if library in {module.split(".")[0] for module in imports(path)}
    }
    owners = OWNERS[library]
    assert users <= ({owners} if isinstance(owners, str) else set(owners))


def test_packages_import_one_way():
    above = {
        "pilarnet_convert": {"clr_train", "clr_eval", "pilarnet_view"},
        "clr_train": {"clr_eval", "pilarnet_view"},
        "clr_eval": {"pilarnet_view"},
        "pilarnet_view": {"clr_eval"},
    }
    for name, path in MODULES.items():
        roots = {module.split(".")[0] for module in imports(path)}
        assert not roots & above[name.split(".")[0]], name
        if name.startswith("pilarnet_convert"):
            assert "torch" not in roots, name


@pytest.mark.parametrize("package", PACKAGES)
def test_modules_import_one_way_in_few_levels(package: str):
    graph = {
        name: {other for other in inner_imports(name, lazy=False) if other.startswith(package)}
        for name in MODULES
        if name.startswith(f"{package}.")
    }
    order = list(TopologicalSorter(graph).static_order())  # raises where there is a cycle
    level: dict[str, int] = {}
    for name in order:
        level[name] = 1 + max((level[other] for other in graph.get(name, ())), default=0)
    assert max(level.values()) <= 10, max(level, key=lambda name: level[name])


def test_folders_and_files_are_small():
    for name, path in MODULES.items():
        assert len(path.read_text().splitlines()) <= 300, name
    for folder in {path.parent for path in MODULES.values()}:
        assert len([p for p in folder.glob("*.py") if not p.name.startswith("__")]) <= 16, folder
