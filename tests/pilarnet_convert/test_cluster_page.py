"""The scripts of docs/cluster.md, run by shell loops and scripts in place of batch systems."""

from __future__ import annotations

import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from pilarnet_convert import convert, plan
from tests.pilarnet_convert.inputs import MODERN, QUIRKS
from tests.pilarnet_convert.outputs import contents, environment, in_small_tasks
from tests.sample import SAMPLE

PAGE = Path(__file__).parents[2] / "docs" / "cluster.md"
PARTS = 3
TASK_BYTES = 120_000


@pytest.fixture
def site(tmp_path: Path) -> Path:
    """Return a folder with input files, and the commands in ``bin``."""
    (tmp_path / "pilarnet").mkdir()
    for file in (SAMPLE, QUIRKS, MODERN):
        shutil.copy(file, tmp_path / "pilarnet")
    python, option, program = in_small_tasks(num_bytes=TASK_BYTES)
    command(tmp_path, "pilarnet-convert", f'exec {python} {option} {shlex.quote(program)} "$@"')
    command(tmp_path, "dask", f'exec {sys.executable} -m dask "$@"')
    return tmp_path


def command(site: Path, name: str, script: str) -> None:
    (site / "bin").mkdir(exist_ok=True)
    path = site / "bin" / name
    path.write_text(f"#!/bin/bash\n{script}\n")
    path.chmod(0o755)


def block(site: Path, holds: str) -> str:
    """Return the block of the page with this text, with small numbers and the paths of the site."""
    blocks = re.findall(r"^```\w*\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.M)
    (text,) = (text for text in blocks if holds in text)
    changes = {
        "20": str(PARTS),
        "--workers 4": "--workers 1",
        "--nworkers 4": "--nworkers 1",
        "maximum_jobs=100": "maximum_jobs=2",
        "/data/": f"{site}/",  # last, as the path may hold any number
    }
    for old, new in changes.items():
        text = text.replace(old, new)
    return text


def run(site: Path, *args: str, **env: str) -> str:
    """Run a program at the site, and return what it prints."""
    done = subprocess.run(
        args,
        cwd=site,
        env={**environment(), **env, "PATH": f"{site / 'bin'}{os.pathsep}{os.environ['PATH']}"},
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def check(site: Path) -> None:
    """Compare with a plain conversion, which has more tasks than there are parts."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(plan, "TASK_BYTES", TASK_BYTES)
        convert(site / "pilarnet", site / "wanted", workers=1)
    assert len(list((site / "wanted" / "train").glob("*/"))) > PARTS
    assert contents(site / "shards") == contents(site / "wanted")


def test_slurm_array(site: Path):
    """A loop over the numbers of the array takes the place of Slurm."""
    (site / "convert.sh").write_text(block(site, "SBATCH --array"))
    assert f"#SBATCH --array=1-{PARTS}\n" in block(site, "SBATCH --array")
    loop = (
        "for SLURM_ARRAY_TASK_ID in 3 1 2; do\n"
        f"export SLURM_ARRAY_TASK_ID SLURM_ARRAY_TASK_COUNT={PARTS} SLURM_CPUS_PER_TASK=1\n"
        "bash convert.sh || exit 1\n"
        "done\n"
    )
    said = run(site, "bash", "-c", loop)
    assert "64 events of 3 sources" in said
    check(site)


def test_htcondor_array(site: Path):
    """Jobs of a submit file, all at the same time, with HTCondor's macros replaced by sed."""
    (site / "convert.sub").write_text(block(site, "should_transfer_files"))
    loop = r"""
        queue=$(sed -n 's/^queue //p' convert.sub)
        for process in $(seq 0 $((queue - 1))); do
            part=$((process + 1))
            arguments=$(sed -n "s/^arguments *= //;s/\$INT(part)/$part/p" convert.sub)
            $(sed -n 's/^executable *= //p' convert.sub) $arguments &
            jobs="$jobs $!"
        done
        for job in $jobs; do wait $job || exit 1; done
    """
    assert "part                  = $(Process) + 1\n" in block(site, "should_transfer_files")
    assert "64 events of 3 sources" in run(site, "bash", "-c", loop)
    check(site)


@pytest.mark.cluster
def test_scheduler_and_workers_as_programs(site: Path):
    script = f"set -m\n{block(site, 'dask worker')}\ncode=$?\nkill %1 %2\nwait\nexit $code"
    said = run(site, "bash", "-c", script)
    assert "64 events of 3 sources" in said
    check(site)


#: A replacement for the command that submits a job: it runs the job at once.
SUBMIT = {
    "SLURMCluster": (
        "sbatch",
        'cp "${@: -1}" job.$$; bash job.$$ >job.log 2>&1 & echo "Submitted batch job 1$$"',
    ),
    "LSFCluster": (
        "bsub",
        'cat >job.$$; bash job.$$ >job.log 2>&1 & echo "Job <1$$> is submitted."',
    ),
    "HTCondorCluster": (
        "condor_submit",
        'arguments=$(sed -n \'s/^Arguments = "\\(.*\\)"$/\\1/p\' "${@: -1}")\n'
        'eval "/bin/sh $arguments" >job.log 2>&1 & echo "1 job(s) submitted to cluster 1$$."',
    ),
}


@pytest.mark.cluster
@pytest.mark.parametrize("kind", SUBMIT)
def test_workers_are_jobs_of_a_batch_system(site: Path, kind: str):
    pytest.importorskip("dask_jobqueue")
    command(site, *SUBMIT[kind])
    for cancel in ("scancel", "bkill", "condor_rm"):
        command(site, cancel, "true")
    script = block(site, f"{kind}(")
    assert len(script.splitlines()) <= 12
    small = f"from pilarnet_convert import plan\nplan.TASK_BYTES = {TASK_BYTES}\n"
    (site / "script.py").write_text(small + script)
    run(site, sys.executable, "script.py")
    check(site)
