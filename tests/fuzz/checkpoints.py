"""Mutated checkpoints."""

from __future__ import annotations

import io
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from clr_train.config import TrainConfig
from clr_train.learner import Learner
from clr_train.training.checkpoint import load_checkpoint, save_checkpoint
from clr_train.training.optimizer import make_optimizer
from clr_train.training.pretrained import load_learner
from tests.fuzz.target import Mutation

__all__ = ["Checkpoints"]

_OPCODES = [op[0] for op in vars(pickle).values() if isinstance(op, bytes) and len(op) == 1]


class Checkpoints:
    """A checkpoint of the smallest model, mutated."""

    def __init__(self, folder: Path) -> None:
        torch.set_num_threads(1)
        config = TrainConfig(shards="shards", model="zepto", device="cpu", engine="torch")
        learner = Learner(config, device=torch.device("cpu"))
        state = {
            "model": learner.model.state_dict(),
            "encoder": learner.describe(),
            "optimizer": make_optimizer(learner.model.parameters(), weight_decay=0.1).state_dict(),
            "step": 3,
            "stream": {"epoch": 0, "batch": 3, "num_batches": 9, "num_particles": 90},
            "random": {"cpu": torch.get_rng_state(), "cuda": []},
            "config": config.to_dict(),
            "progress": {"seconds": 1.0, "best_loss": 2.0, "baselines": {}},
        }
        save_checkpoint(folder / "good.pt", state=state)
        self._good = (folder / "good.pt").read_bytes()

    def mutate(self, rng: np.random.Generator, path: Path) -> Mutation:
        """Write a mutated checkpoint."""
        mutations: list[Callable[[np.random.Generator], tuple[bytes, Mutation]]] = [
            self._flip,
            self._cut,
            self._member,
            self._pickle,
        ]
        data, mutation = mutations[rng.integers(len(mutations))](rng)
        path.write_bytes(data)
        return mutation

    def _flip(self, rng: np.random.Generator) -> tuple[bytes, Mutation]:
        data = np.frombuffer(self._good, np.uint8).copy()
        low = 0 if rng.random() < 0.5 else max(0, len(data) - 20_000)  # the directory is there
        at = rng.integers(low, len(data), rng.integers(1, 5))
        data[at] ^= (1 << rng.integers(0, 8, len(at))).astype(np.uint8)
        return data.tobytes(), Mutation("bits anywhere", True)

    def _cut(self, rng: np.random.Generator) -> tuple[bytes, Mutation]:
        at, size = rng.integers(0, len(self._good)), rng.integers(1, 5000)
        rest = b"" if rng.random() < 0.5 else self._good[at + size :]
        return self._good[:at] + rest, Mutation("cut, or a block taken out", True)

    def _member(self, rng: np.random.Generator) -> tuple[bytes, Mutation]:
        """Change, empty, remove or exchange members of the archive, with their checksums right."""
        with zipfile.ZipFile(io.BytesIO(self._good)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        first, second = (str(name) for name in rng.choice(list(members), 2))
        what = rng.integers(4)
        if what == 0:
            members[first] = b""
        elif what == 1:
            del members[first]
        elif what == 2:
            members[first], members[second] = members[second], members[first]
        else:
            members[first] = members[first][: len(members[first]) // 2]
        return _archive(members), Mutation("members changed", False)

    def _pickle(self, rng: np.random.Generator) -> tuple[bytes, Mutation]:
        """Change the pickle inside, with its checksum right."""
        with zipfile.ZipFile(io.BytesIO(self._good)) as archive:
            members = {name: archive.read(name) for name in archive.namelist()}
        (name,) = (name for name in members if name.endswith("data.pkl"))
        data = bytearray(members[name])
        for at in rng.integers(0, len(data), rng.integers(1, 4)).tolist():
            data[at] = int(rng.integers(256) if rng.random() < 0.5 else rng.choice(_OPCODES))
        members[name] = bytes(data)
        return _archive(members), Mutation("the pickle changed", False)

    def read(self, path: Path) -> bytes:
        """Read a checkpoint and the encoder in it."""
        state = load_checkpoint(path)
        learner = load_learner(path, device="cpu", engine="torch")
        weights = learner.model.state_dict()
        parts = [weights[name].numpy().tobytes() for name in sorted(weights)]
        others = {k: v for k, v in state.items() if k not in ("model", "random")}
        return b"".join([*parts, repr(others).encode(), repr(state["random"]).encode()])


def _archive(members: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return stream.getvalue()
