"""The container files against the project: what they copy, install, name and start from."""

from __future__ import annotations

import configparser
import fnmatch
import re
import subprocess
from pathlib import Path

import pytest

from pilarnet_convert.shards import format as schema

ROOT = Path(__file__).resolve().parent.parent
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(path for path in DOCKER.glob("Dockerfile*") if path.suffix != ".dockerignore")
NAMES = [path.name for path in DOCKERFILES]
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / "setup.cfg")
EXTRAS = set(SETUP["options.extras_require"])
COMMANDS = {
    line.split("=")[0].strip()
    for line in SETUP["options.entry_points"]["console_scripts"].strip().splitlines()
}


def instructions(path: Path) -> list[tuple[str, str]]:
    """Instructions of a Dockerfile with their arguments, continued lines joined."""
    text = re.sub(r"^\s*#.*\n", "", path.read_text(), flags=re.MULTILINE)
    lines = re.sub(r"\\\n", " ", text).splitlines()
    return [
        (word.upper(), rest) for word, _, rest in (line.partition(" ") for line in lines) if word
    ]


def of_kind(path: Path, kind: str) -> list[str]:
    return [rest for word, rest in instructions(path) if word == kind]


def defaults(path: Path) -> dict[str, str]:
    pairs = (rest.partition("=") for rest in of_kind(path, "ARG"))
    return {name: value.strip('"') for name, equals, value in pairs if equals}


def context_of(path: Path) -> set[Path]:
    """Files that the image's .dockerignore lets through: the last pattern that matches decides."""
    rules = Path(f"{path}.dockerignore").read_text().split("\n")
    rules = [rule for rule in rules if rule and not rule.startswith("#")]
    assert rules[0] == "*", "everything is left out, then some is let in"
    files = set()
    for rule in rules[1:]:
        if rule.startswith("!"):
            found = list(ROOT.glob(rule[1:]))
            assert found, f"{rule} lets nothing in"
            for place in found:
                files |= (
                    {place} if place.is_file() else {p for p in place.rglob("*") if p.is_file()}
                )
    return {f.relative_to(ROOT) for f in files if not fnmatch.fnmatch(str(f), "*__pycache__*")}


def test_the_two_images_are_there() -> None:
    assert NAMES == ["Dockerfile", "Dockerfile.minkowski"]


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_instructions_are_those_of_docker(path: Path) -> None:
    known = {"ARG", "FROM", "RUN", "COPY", "ENV", "USER", "WORKDIR", "ENTRYPOINT", "CMD"}
    assert {word for word, _ in instructions(path)} <= known


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_every_base_is_pinned_or_a_stage_of_the_file(path: Path) -> None:
    stages: set[str] = set()
    for base in of_kind(path, "FROM"):
        image, _, stage = base.partition(" AS ")
        local = image.replace("${DEVICE}", defaults(path).get("DEVICE", ""))
        if local not in stages:
            assert re.search(r":\w*\d+\.\d+\.\d+", image), f"{image} has no tag with a full version"
        stages |= {stage} if stage else set()


def test_both_devices_have_a_stage() -> None:
    stages = re.findall(r" AS (\S+)", "\n".join(of_kind(DOCKER / "Dockerfile", "FROM")))
    assert stages == ["base-cpu", "base-cuda"]
    assert defaults(DOCKER / "Dockerfile")["DEVICE"] == "cpu"


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_every_copied_file_exists_and_is_in_the_context(path: Path) -> None:
    context = context_of(path)
    sources = [
        source
        for rest in of_kind(path, "COPY")
        if not rest.startswith("--from=")
        for source in rest.split()[:-1]
    ]
    assert "." in sources
    for source in sources:
        assert (ROOT / source).exists(), f"COPY {source}"
        assert source == "." or Path(source) in context, f"{source} is left out of the context"


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_the_context_holds_what_setup_cfg_needs(path: Path) -> None:
    context = context_of(path)
    for package in SETUP["options.packages.find"]["include"].split():
        modules = {file.relative_to(ROOT) for file in ROOT.glob(f"{package}/**/*.py")}
        assert modules
        assert modules <= context
    for name in ("setup.cfg", "pyproject.toml", SETUP["metadata"]["license_files"]):
        assert Path(name) in context
    assert not any(part in {"tests", "data", ".git"} for file in context for part in file.parts)


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_extras_are_all_but_those_for_developers_and_the_service(path: Path) -> None:
    named = defaults(path)["EXTRAS"].split(",")
    assert set(named) == EXTRAS - {"dev", "docs", "wandb"}
    assert "/src[${EXTRAS}]" in path.read_text()


@pytest.mark.parametrize("path", DOCKERFILES, ids=NAMES)
def test_all_commands_are_tried_and_the_user_is_not_root(path: Path) -> None:
    *_, user = of_kind(path, "USER")
    assert int(user) > 0
    named = set(re.findall(r"\b(?:pilarnet|clr)-[a-z]+", path.read_text())) - {"pilarnet-clr"}
    assert named == COMMANDS
    assert of_kind(path, "ENTRYPOINT") == ['["/usr/bin/env"]']


def test_packages_of_the_original_study_are_installed_at_a_version() -> None:
    text = (DOCKER / "Dockerfile.minkowski").read_text()
    imported = re.search(r"import (MinkowskiEngine[\w, ]+)", text)
    assert imported
    names = ["tensorboardX", "einops", "LarpixParser", "wandb", "pytorch-lightning", "timm"]
    for name in names:
        assert re.search(rf"'{name}==\d+\.\d+\.\d+'", text), name
    modules = [name.replace("-", "_") for name in names]
    assert imported[1].strip().split(", ") == ["MinkowskiEngine", *modules]


@pytest.mark.parametrize("path", sorted(DOCKER.iterdir()), ids=lambda path: path.name)
def test_no_network_host_is_named(path: Path) -> None:
    assert not re.search(r"https?://|\w\.(com|org|io|net)\b", path.read_text())


def test_patches_apply_to_lines_like_those_of_the_release(tmp_path: Path) -> None:
    python, source = tmp_path / "MinkowskiEngine", tmp_path / "src"
    python.mkdir()
    source.mkdir()
    (python / "a.py").write_text("from collections import Sequence\n")
    (python / "b.py").write_text("from collections import Sequence, namedtuple\nnamedtuple\n")
    (source / "spmm.cu").write_text("#include <ATen/cuda/CUDAContext.h>\n")
    script = ["sh", str(DOCKER / "patch_minkowski.sh"), str(tmp_path)]
    subprocess.run(script, check=True)
    for file in python.iterdir():
        exec(compile(file.read_text(), str(file), "exec"), {})  # runs on any Python since 3.3
    assert (source / "spmm.cu").read_text().splitlines() == [
        "#include <ATen/core/Tensor.h>",
        "#include <ATen/cuda/CUDAContext.h>",
    ]
    assert subprocess.run(script, check=False).returncode, "nothing left to patch is an error"


def test_the_table_of_arrays_is_the_schema() -> None:
    text = (ROOT / "data" / "README.md").read_text()
    rows = [
        [cell.strip().strip("`") for cell in line.strip("|").split("|")]
        for line in text.splitlines()
        if re.match(r"\| `\w+` \| u?(int|float)\d", line)
    ]
    expected = []
    for name, spec in (schema.VOXEL_ARRAYS | schema.PARTICLE_ARRAYS).items():
        rows_of = "V" if name in schema.VOXEL_ARRAYS else "N+1" if name == "offset" else "N"
        shape = ", ".join([rows_of, *map(str, spec.row_shape)])
        expected.append([name, spec.dtype, shape, spec.unit, spec.meaning])
    assert rows == expected
