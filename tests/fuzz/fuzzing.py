"""Reading thousands of mutated inputs, and a table of the results.

    python -m tests.fuzz.fuzzing [--inputs N] [--seed SEED] [--target root|shards|checkpoints]

Each input is made by a seed of its own, (SEED, its number), and read in one process that has a
limit of memory. If this process crashes, that is counted, and another goes on behind the input.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections import Counter
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from tabulate import tabulate

from pilarnet_convert.console.progress import ProgressBar, progress_bar
from tests.fuzz.target import FAULTS, OUTCOMES, Target, try_input

TARGETS = ("root", "shards", "checkpoints")


def make_target(name: str, folder: Path) -> Target:
    """Make the good input of a target in a folder."""
    if name == "root":
        from tests.fuzz.root_files import RootFiles

        return RootFiles(folder)
    if name == "shards":
        from tests.fuzz.shard_sets import ShardSets

        return ShardSets(folder)
    from tests.fuzz.checkpoints import Checkpoints

    return Checkpoints(folder)


def run_here(name: str, *, seed: int, first: int, last: int) -> list[tuple[str, str, str]]:
    """Try inputs in this process; give kind, outcome and message of each."""
    results = []
    with TemporaryDirectory() as folder:
        target = make_target(name, Path(folder))
        path = Path(folder, {"root": "a.root", "shards": "set", "checkpoints": "a.pt"}[name])
        expected = _expected(target, Path(folder), name)
        for number in range(first, last):
            mutation = target.mutate(np.random.default_rng([seed, number]), path)
            outcome, message = try_input(target.read, path, expected=expected, mutation=mutation)
            results.append((mutation.kind, outcome, message))
            print(json.dumps([number, mutation.kind, outcome, message]), flush=True)
    return results


def _expected(target: Target, folder: Path, name: str) -> bytes:
    from tests.sample import SAMPLE

    good = {"root": SAMPLE, "shards": folder / "good", "checkpoints": folder / "good.pt"}
    return target.read(good[name])


def run(name: str, *, seed: int, inputs: int) -> Counter[tuple[str, str]]:
    """Try inputs in another process; count them by kind and outcome."""
    counts: Counter[tuple[str, str]] = Counter()
    with progress_bar(total=inputs, unit="input", description=name) as bar:
        _count(counts, name, seed=seed, inputs=inputs, bar=bar)
    return counts


def _count(
    counts: Counter[tuple[str, str]], name: str, *, seed: int, inputs: int, bar: ProgressBar
) -> None:
    done = 0
    while done < inputs:
        command = [sys.executable, "-m", "tests.fuzz.fuzzing", "--target", name]
        command += ["--seed", str(seed), "--here", str(done), str(inputs)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            for line in process.stdout:
                number, kind, outcome, message = json.loads(line)
                done = number + 1
                counts[kind, outcome] += 1
                bar.update()
                if outcome in FAULTS:
                    print(f"{name} {seed} {number}, {kind}: {outcome}: {message}", flush=True)
        if process.returncode and done < inputs:
            counts["any", "crash"] += 1
            print(f"{name} {seed} {done}: exit code {process.returncode}", flush=True)
            done += 1


def table(counts: dict[str, Counter[tuple[str, str]]]) -> str:
    """Lay out the counts of all targets."""
    rows = [
        [name, kind, *(count[kind, outcome] for outcome in OUTCOMES)]
        for name, count in counts.items()
        for kind in sorted({kind for kind, _ in count})
    ]
    total = [sum(row[i] for row in rows) for i in range(2, 2 + len(OUTCOMES))]
    rows.append(["all", f"{sum(total):,} inputs", *total])
    return tabulate(rows, headers=["input", "mutation", *OUTCOMES], tablefmt="pipe", intfmt=",")


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--inputs", type=int, default=1000, help="inputs of each target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--target", choices=TARGETS, action="append")
    parser.add_argument("--here", type=int, nargs=2, help=argparse.SUPPRESS)
    options = parser.parse_args()
    targets = options.target or TARGETS
    if options.here:
        run_here(targets[0], seed=options.seed, first=options.here[0], last=options.here[1])
        return
    counts = {name: run(name, seed=options.seed, inputs=options.inputs) for name in targets}
    print(table(counts))
    faults = sum(count[kind] for count in counts.values() for kind in count if kind[1] in FAULTS)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
