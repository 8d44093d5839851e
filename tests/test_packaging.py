"""What is packed and declared, against what the packages hold and import."""

from __future__ import annotations

import ast
import configparser
import re
import sys
from pathlib import Path

import pytest
import yaml

from pilarnet_convert import __version__

ROOT = Path(__file__).parents[1]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
PACKAGES = ("pilarnet_convert", "clr_train", "clr_eval", "pilarnet_view")
#: Names by which packages are installed, where they are imported by others.
INSTALLED_AS = {"sklearn": "scikit-learn"}
#: What no extra brings: Triton comes with torch, and MinkowskiEngine is built (docker/README.md).
BROUGHT_OTHERWISE = {"triton", "MinkowskiEngine"}


def requirements(text: str) -> set[str]:
    """Names of the packages of a list of requirements, in small letters."""
    names = re.findall(r"^[\w.-]+", text, re.MULTILINE)
    return {name.lower().replace("_", "-") for name in names}


def imports(path: Path) -> set[str]:
    """Packages that a module imports."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            names.add(node.module.split(".")[0])
    return names - set(sys.stdlib_module_names) - set(PACKAGES)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_file_of_a_package_is_packed(package: str) -> None:
    assert f"{package}*" in SETUP["options.packages.find"]["include"].split()
    patterns = SETUP["options.package_data"][package].split()
    for path in (ROOT / package).rglob("*"):
        if path.is_dir() or path.suffix == ".pyc":
            continue
        name = path.relative_to(ROOT / package)
        if path.suffix == ".py":
            assert (path.parent / "__init__.py").exists(), f"{name}: its folder is no package"
        else:
            assert any(name.match(pattern) for pattern in patterns), f"{name} is left out"


def test_every_import_is_declared() -> None:
    declared = requirements(SETUP["options"]["install_requires"])
    for extra in SETUP["options.extras_require"].values():
        declared |= requirements(extra)
    for package in PACKAGES:
        for path in (ROOT / package).rglob("*.py"):
            needed = imports(path) - BROUGHT_OTHERWISE
            names = {INSTALLED_AS.get(name, name).replace("_", "-") for name in needed}
            assert names <= declared, path


def test_the_citation_names_this_version_and_what_the_readme_cites() -> None:
    citation = yaml.safe_load((ROOT / "CITATION.cff").read_text())
    assert citation["version"] == __version__
    cited = [work["identifiers"][0]["value"] for work in citation["references"]]
    assert cited == ["arXiv:2006.01993", "arXiv:2502.07724"]
    readme = (ROOT / "README.md").read_text()
    assert all(work in readme for work in cited)


def test_the_readme_names_the_versions_of_python_that_are_declared() -> None:
    declared = re.findall(r"Python :: (\d\.\d+)", SETUP["metadata"]["classifiers"])
    named = re.findall(r"\b3\.1\d\b(?!\.\d)", (ROOT / "README.md").read_text())
    assert set(named) == set(declared)
