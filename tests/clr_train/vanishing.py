"""Kills a reading worker of a stream and prints the error that follows.

    python -m tests.clr_train.vanishing SHARDS starting|reading

A process of its own, whose end shows that none is waited for.
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
    if sys.argv[2] == "reading":
        next(batches)
    else:
        stream._loader._start()
    (worker,) = stream._loader._running
    assert worker.process.pid is not None
    os.kill(worker.process.pid, signal.SIGKILL)
    try:
        list(batches)
    except PilarnetError as error:
        print(error)
        assert not stream._loader._running


if __name__ == "__main__":
    main()
