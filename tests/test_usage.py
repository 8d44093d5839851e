"""What every command does with paths, endings, missing packages, closed pipes and full disks."""

from __future__ import annotations

import os
import re
import resource
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

from clr_eval.cli import embed_command, eval_command
from clr_eval.study.cli import study_command
from clr_train.cli import train_command
from clr_train.export.cli import export_command
from pilarnet_convert import convert, open_shards
from pilarnet_convert.cli import convert_command, stats_command
from pilarnet_convert.console.command import Command
from pilarnet_convert.download.cli import download_command
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.export.cli import export_command as export_shards_command
from pilarnet_convert.shards.reader import ShardError
from pilarnet_view.cli import view_command
from tests.sample import SAMPLE

ROOT = Path(__file__).parents[1]
COMMANDS = {
    "pilarnet-convert": convert_command,
    "pilarnet-stats": stats_command,
    "pilarnet-view": view_command,
    "clr-train": train_command,
    "clr-embed": embed_command,
    "clr-eval": eval_command,
    "pilarnet-export": export_shards_command,
    "pilarnet-download": download_command,
    "clr-export": export_command,
    "clr-study": study_command,
}


def run(command: click.Command, *arguments: object) -> Result:
    return CliRunner().invoke(command, [str(a) for a in arguments], prog_name=command.name)


def line_of(result: Result, *, exit_code: int) -> str:
    assert result.exit_code == exit_code, result.output
    (line,) = result.stderr.splitlines()
    assert line.startswith("error: ")
    return line.removeprefix("error: ")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a home folder with shards in it."""
    home = tmp_path_factory.mktemp("home")
    convert(SAMPLE, home / "shards", workers=1)
    return home


@pytest.fixture
def _at_home(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(home))


@pytest.mark.parametrize("name", COMMANDS)
def test_wrong_usage_reads_the_same_whoever_finds_it(name: str):
    line = line_of(run(COMMANDS[name], "--zzzz"), exit_code=2)
    assert re.fullmatch(rf"No such option:? '?--zzzz'?; see {name} --help", line)


@pytest.mark.parametrize("name", COMMANDS)
def test_no_value_is_empty(name: str):
    """An unset variable of a shell leaves an empty one."""
    options = [param for param in COMMANDS[name].params if isinstance(param, click.Option)]
    for option in options:
        if not option.is_flag:
            line = line_of(run(COMMANDS[name], option.opts[0], " "), exit_code=2)
            assert line == f"{option.opts[0]}: the value is empty; see {name} --help"


@pytest.mark.parametrize("name", COMMANDS)
def test_help_fits_a_terminal(name: str):
    text = run(COMMANDS[name], "--help").stdout
    assert max(map(len, text.splitlines())) <= 80


def test_a_shell_completes_files_and_choices():
    def offered(name: str, words: str) -> list[str]:
        variable = f"_{name.replace('-', '_')}_COMPLETE".upper()
        count = str(len(words.split(" ")) - 1)
        environment = {variable: "bash_complete", "COMP_WORDS": words, "COMP_CWORD": count}
        result = CliRunner().invoke(COMMANDS[name], prog_name=name, env=environment)
        return result.stdout.split()

    assert offered("pilarnet-convert", "pilarnet-convert --energy-unit G") == ["plain,GeV"]
    assert offered("pilarnet-convert", "pilarnet-convert --input da") == ["file,da"]
    assert offered("clr-train", "clr-train --shards sh") == ["file,sh"]
    assert offered("pilarnet-view", "pilarnet-view sh") == ["file,sh"]


@pytest.mark.parametrize("name", COMMANDS)
def test_versions_of_what_matters(name: str):
    lines = run(COMMANDS[name], "--version").stdout.splitlines()
    assert lines[0].startswith(f"{name} ")
    assert {"python", "numpy", "zarr"} <= {line.split()[0] for line in lines}


@pytest.mark.usefixtures("_at_home")
def test_a_tilde_is_the_home_folder(home: Path):
    assert run(stats_command, "~/shards").exit_code == 0
    assert len(open_shards("~/shards").splits["train"]) == 1
    assert run(stats_command, "~/shards", "--plot=~/classes.png").exit_code == 0
    assert run(view_command, "~/shards", "--count=1", "--out=~/page.html").exit_code == 0
    assert run(convert_command, f"--input={SAMPLE}", "--out=~/again", "--workers=1").exit_code == 0
    assert {"classes.png", "page.html", "again"} <= set(os.listdir(home))
    (home / "list.txt").write_text(f"{SAMPLE}\n")
    check = run(convert_command, "--input-list=~/list.txt", "--check", "--workers=1")
    assert check.exit_code == 0
    cached = run(
        train_command,
        *("--shards=~/shards", "--cache=~/cache", "--out=~/run", "--model=zepto", "--dry-run"),
    )
    assert cached.exit_code == 0
    assert (home / "cache").is_dir()
    missing = line_of(run(eval_command, "--checkpoint=~/c.pt", "--shards=~/shards"), exit_code=1)
    assert missing.startswith(f"{home / 'c.pt'}: no such checkpoint; name the folder of a run")


def test_a_part_of_a_set_points_to_the_set(home: Path):
    for part in ("train", "train/00000"):
        line = line_of(run(stats_command, home / "shards" / part), exit_code=1)
        assert line == (
            f"{home / 'shards' / part}: a part of a set of shards, not the set; "
            f"name {home / 'shards'}"
        )
    with pytest.raises(ShardError, match="a part of a set of shards"):
        open_shards(home / "shards" / "train")


@pytest.mark.parametrize(
    ("name", "arguments", "expected"),
    [
        (
            "pilarnet-stats",
            ["--plot=x.gif", "--verify"],
            "x.gif: --plot: not a kind of picture (expected .png, .pdf, .svg, found .gif)",
        ),
        ("pilarnet-stats", ["--plot=none/x.png"], "none: --plot: no such folder"),
        (
            "pilarnet-view",
            ["--png=x.bmp"],
            "x.bmp: --png: not a kind of picture (expected .png, .pdf, .svg, found .bmp)",
        ),
        (
            "pilarnet-view",
            ["--out=x.txt"],
            "x.txt: --out: not a page or a picture (expected .html, .png, .pdf or .svg, found "
            ".txt)",
        ),
        (
            "pilarnet-view",
            ["--out=x.svg", "--png=y.png"],
            "--out: both --out and --png name a picture; leave out one of them",
        ),
        ("pilarnet-view", ["--out=none/x.html"], "none: --out: no such folder"),
    ],
)
def test_what_cannot_be_written_is_refused_before_the_work(
    name: str, arguments: list[str], expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    # The shards do not exist: that would be the next thing to be found.
    assert line_of(run(COMMANDS[name], "shards", *arguments), exit_code=2) == expected


@pytest.mark.parametrize(
    ("name", "arguments", "option", "file"),
    [
        ("pilarnet-stats", ["none"], "--plot", "x.png"),
        ("pilarnet-view", ["none"], "--png", "x.png"),
        ("pilarnet-view", ["none"], "--out", "x.html"),
        ("clr-embed", ["--shards=none", "--checkpoint=none"], "--out", "x.npz"),
        ("clr-embed", ["--shards=none", "--checkpoint=none"], "--out", "x.zarr"),
    ],
)
def test_a_folder_that_is_read_only_is_refused_before_the_work(
    small_disk: Path, name: str, arguments: list[str], option: str, file: str
):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = run(COMMANDS[name], *arguments, f"{option}={small_disk / file}")
    line = line_of(result, exit_code=2)
    assert line == f"{small_disk}: {option}: the folder cannot be written"


def test_a_picture_is_made_where_one_is_named(home: Path, tmp_path: Path):
    result = run(view_command, home / "shards", "--count=1", "--out", tmp_path / "one.png")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")
    assert os.listdir(tmp_path) == ["one.png"]


def test_embeddings_of_another_ending_are_wrong_usage(home: Path):
    options = (f"--shards={home / 'shards'}", "--checkpoint=none.pt", "--out=x.png")
    assert line_of(run(embed_command, *options), exit_code=2).startswith(
        "x.png: --out: unknown kind of file (expected a name that ends in .zarr,"
    )


@pytest.mark.parametrize(
    ("package", "extra"),
    [
        ("torch", "train"),
        ("tensorboard.compat", "train"),
        ("hdf5plugin", "formats"),
        ("h5py", None),
    ],
)
def test_a_missing_package_names_its_extra(package: str, extra: str | None):
    def fail() -> None:
        raise ModuleNotFoundError(f"No module named '{package}'", name=package)

    result = run(Command("trial", callback=fail))
    if extra is None:  # every installation has it
        assert "internal error" in line_of(result, exit_code=70)
        return
    assert line_of(result, exit_code=1) == (
        f"trial needs {package.split('.')[0]}, which is not installed; pip install "
        f"'pilarnet-clr[{extra}]', or in a checkout pip install '.[{extra}]'"
    )
    result = run(Command("trial", extra="eval", callback=fail))
    assert "'pilarnet-clr[eval]'" in line_of(result, exit_code=1)


@pytest.mark.parametrize(
    ("command", "arguments"),
    [
        (eval_command, ["--checkpoint=none.pt", "--shards=none"]),
        (study_command, [str(ROOT / "docs" / "study.toml"), "--out=study"]),
    ],
)
def test_without_matplotlib_a_command_names_its_own_extra(
    command: click.Command, arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    line = line_of(run(command, *arguments), exit_code=1)
    assert line.startswith("pictures are drawn by matplotlib, which is not installed")
    assert "'pilarnet-clr[eval]'" in line


def test_every_command_has_its_help_without_the_extras():
    script = (
        "import sys\n"
        "for name in ('torch', 'tomli_w', 'sklearn', 'tensorboard', 'matplotlib', 'plotly',\n"
        "             'pyarrow', 'hdf5plugin', 'dask', 'distributed', 'requests', 'safetensors'):\n"
        "    sys.modules[name] = None\n"
        "from importlib.metadata import entry_points\n"
        "from click.testing import CliRunner\n"
        "for entry in entry_points(group='console_scripts'):\n"
        "    if entry.value.split('.')[0] in sys.argv[1:]:\n"
        "        done = CliRunner().invoke(entry.load(), ['--help'])\n"
        "        print(entry.name, done.exit_code)\n"
    )
    packages = ("pilarnet_convert", "clr_train", "clr_eval", "pilarnet_view")
    done = subprocess.run(
        [sys.executable, "-c", script, *packages],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    assert done.stderr == ""
    found = dict(line.split() for line in done.stdout.splitlines())
    assert set(COMMANDS) <= set(found)
    assert set(found.values()) == {"0"}


def test_a_closed_pipe_ends_quietly(home: Path):
    script = "from pilarnet_convert.cli import stats_command as command; command()"
    ours, theirs = os.pipe()
    os.close(ours)
    done = subprocess.run(
        [sys.executable, "-c", script, str(home / "shards")],
        stdout=theirs,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )
    os.close(theirs)
    assert done.stderr == ""


def test_a_full_disk_leaves_the_page_that_was_there(home: Path, tmp_path: Path):
    page = tmp_path / "page.html"
    page.write_text("as before")
    done = subprocess.run(
        [sys.executable, "-m", "pilarnet_view", str(home / "shards"), f"--out={page}"],
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000)),
    )
    assert (done.returncode, done.stderr) == (1, f"error: {page}: --out: File too large\n")
    assert page.read_text() == "as before"
    assert os.listdir(tmp_path) == ["page.html"]


def test_a_full_disk_leaves_no_shards(tmp_path: Path):
    out = tmp_path / "shards"
    arguments = [f"--input={SAMPLE}", f"--out={out}", "--workers=1"]
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        result = run(convert_command, *arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert line_of(result, exit_code=1) == f"{out}: --out: File too large"
    assert not list(out.glob("*"))


def test_errors_have_no_python_in_them():
    error = PilarnetError("p", expected={"a": [1, 2], "b": None}, found=())
    assert str(error) == "p (expected a 1, 2, b none, found nothing)"
