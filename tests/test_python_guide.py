"""The guide to Python: every block of code, run in order in a folder with shards and a run."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

import pytest

from clr_train import TrainConfig, pretrain
from pilarnet_convert import convert
from tests.sample import GEANT4

GUIDE = Path(__file__).parents[1] / "docs" / "python.md"


def test_the_guide_runs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
):
    blocks = re.findall(r"^```python\n(.*?)^```$", GUIDE.read_text(), re.DOTALL | re.M)
    assert len(blocks) == 8
    monkeypatch.chdir(tmp_path)
    # The README's shards, cut short: the first particle of a split stays the first.
    shards = convert(GEANT4, "shards", workers=1, max_events=20)
    pretrain(
        TrainConfig(
            shards="shards", out="runs/first", batch_size=32, max_steps=1, final_probe=False
        ),
        say=str,
    )
    capsys.readouterr()
    names: dict[str, object] = {"__name__": "guide"}
    for block in blocks:
        if "import lightning" not in block or find_spec("lightning"):
            exec(compile(block, str(GUIDE), "exec"), names)
    printed = capsys.readouterr().out
    assert printed.startswith(f"{len(shards)} {len(shards['test'])}\n<Particle test 0: ")
    assert "(2, 384)\n" in printed
    # What the guide shows as printed is what is printed.
    for shown in re.findall(r"print\(particle\)  # (<.*>)", "\n".join(blocks)):
        assert shown in printed
