"""A GPU, measured in one call of less than eight minutes: training, its parts, convolutions, data.

Each part runs in a process of its own, with a time limit of its own, so that one that hangs or
fails loses nothing of the others. After each, ``gpu.json`` and ``gpu.md`` in the folder ``--out``
are written anew.

Run ``python -m tests.benchmarks.bench_gpu --out build/gpu [--shards SHARDS]``; without shards, it
converts the sample that comes with the project. Shards are named again until an epoch has
942,693 particles. On a machine without a GPU all of it runs at a small size, to try the script.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import torch

from tests.benchmarks.gpu_depthwise import measure_depthwise
from tests.benchmarks.gpu_parts import (
    SIZES,
    Figures,
    Setting,
    measure_card,
    measure_stream,
    measure_training,
)
from tests.benchmarks.gpu_profile import measure_profile
from tests.sample import GEANT4

__all__ = ["PARTS", "as_markdown", "main", "run_limited"]


def _train_at(times: int) -> Callable[[Setting], Figures]:
    """Measure a training with so many times the batch size."""
    return lambda setting: measure_training(
        dataclasses.replace(setting, batch_size=times * setting.batch_size)
    )


#: Each part, its function, and the seconds that it may take. They add up to less than 480, and
#: each takes less if all is well.
PARTS: Final[Mapping[str, tuple[Callable[[Setting], Any], float]]] = {
    "card": (measure_card, 40.0),
    "training": (_train_at(1), 100.0),
    "training with twice the batch": (_train_at(2), 100.0),
    "profile": (measure_profile, 80.0),
    "depth-wise": (measure_depthwise, 90.0),
    "data": (measure_stream, 65.0),
}


def run_limited(command: Sequence[str], *, seconds: float) -> str | None:
    """Run a command; say what is wrong if it fails or takes longer, else None."""
    try:
        done = subprocess.run(
            command, timeout=seconds, capture_output=True, text=True, errors="replace", check=False
        )
    except subprocess.TimeoutExpired:
        return f"took longer than {seconds:.0f} s"
    if done.returncode == 0:
        return None
    lines = done.stderr.strip().splitlines() or ["no message"]
    return f"exit code {done.returncode}: {lines[-1]}"


def run_part(name: str, setting: Setting, *, file: Path) -> None:
    """Measure a part, and write its figures as they come."""
    found = PARTS[name][0](setting)
    rows: list[Figures] = []
    for row in found if isinstance(found, Iterator) else [found]:
        rows.append(row)
        file.write_text(json.dumps(rows))


def as_markdown(results: Mapping[str, Any]) -> str:
    """Write the results as Markdown tables."""
    lines = ["# Measured", ""]
    for name, result in results.items():
        lines += [f"## {name}", ""]
        if result["error"]:
            lines += [f"Not measured to its end: {result['error']}", ""]
        for row in result["rows"]:
            lines += [*_table(row), ""]
    return "\n".join(lines)


def _table(row: Figures) -> list[str]:
    lines = ["| | |", "| --- | ---: |"]
    nested = {name: value for name, value in row.items() if _is_table(value)}
    lines += [
        f"| {name.replace('_', ' ')} | {_show(value)} |"
        for name, value in row.items()
        if name not in nested
    ]
    for table in nested.values():
        columns = list(next(iter(table.values())))
        lines += ["", f"| | {' | '.join(c.replace('_', ' ') for c in columns)} |"]
        lines.append("| --- |" + " ---: |" * len(columns))
        for name, values in table.items():
            lines.append(f"| {name} | {' | '.join(_show(values[c]) for c in columns)} |")
    return lines


def _is_table(value: object) -> bool:
    return isinstance(value, dict) and any(isinstance(v, dict) for v in value.values())


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}" if abs(value) >= 1000 else f"{value:.4g}"
    if isinstance(value, list):
        return ", ".join(map(_show, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {_show(v)}" for name, v in value.items())
    return "" if value is None else f"{value:,}" if isinstance(value, int) else str(value)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure all parts, each in a process of its own; or one, as such a process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=Path("build/gpu"), help="folder to write")
    parser.add_argument("--shards", type=Path, help="shards to train on; those of the sample")
    parser.add_argument(
        "--device", default="cuda" if torch.cuda.is_available() else "cpu", help="cuda or cpu"
    )
    parser.add_argument("--part", choices=PARTS, action="append", help="only this; repeated")
    parser.add_argument("--here", action="store_true", help="in this process, without a limit")
    options = parser.parse_args(arguments)
    options.out.mkdir(parents=True, exist_ok=True)
    shards = options.shards
    if shards is None:
        shards = options.out / "shards"
        if not shards.exists():
            from pilarnet_convert.conversion import convert  # needs the libraries of the readers

            convert(GEANT4, shards)
    device = torch.device(options.device)
    copies = options.out / "copies"
    setting = Setting(device=device, shards=shards, copies=copies, **SIZES[device.type])

    results: dict[str, Any] = {}
    for name in options.part or PARTS:
        file = options.out / f"{name.replace(' ', '-')}.json"
        file.unlink(missing_ok=True)
        start = time.perf_counter()
        if options.here:
            run_part(name, setting, file=file)
            error = None
        else:
            command = [sys.executable, "-m", __spec__.name, "--here", "--part", name]
            command += ["--out", str(options.out), "--shards", str(shards)]
            command += ["--device", options.device]
            error = run_limited(command, seconds=PARTS[name][1])
        rows = json.loads(file.read_text()) if file.exists() else []
        results[name] = {"error": error, "seconds": time.perf_counter() - start, "rows": rows}
        if not options.here:
            (options.out / "gpu.json").write_text(json.dumps(results, indent=1))
            (options.out / "gpu.md").write_text(as_markdown(results))
    print(as_markdown(results))


if __name__ == "__main__":
    main()
