"""Kills a reading worker of a stream and prints the error that comes of it.

    python -m tests.clr_train.vanishing SHARDS

A process of its own, because it changes how the process hears of dead children.
"""

from __future__ import annotations

import os
import signal
import sys

from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from pilarnet_convert.errors import PilarnetError


def main() -> None:
    stream = ParticleStream(
        StreamConfig(shards=sys.argv[1], split="train", batch_size=8, workers=1),
        shuffle_particles=32,
    )
    batches = stream.batches(0)
    next(batches)
    loader = stream._loader._loader
    assert loader is not None
    (worker,) = loader._iterator._workers  # type: ignore[union-attr]
    # Without torch's handler of SIGCHLD, which raises in whatever line the main thread has come to.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    os.kill(worker.pid, signal.SIGKILL)
    try:
        list(batches)
    except PilarnetError as error:
        print(error)
        assert stream._loader._loader is None


if __name__ == "__main__":
    main()
