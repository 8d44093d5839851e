"""Kills a reading worker of a stream, as it starts and as it reads, and prints the errors.

    python -m tests.clr_train.vanishing SHARDS

A process of its own, whose end shows that no worker is waited for.
"""

from __future__ import annotations

import os
import signal
import sys

from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from pilarnet_convert.errors import PilarnetError


def main() -> None:
    config = StreamConfig(shards=sys.argv[1], split="train", batch_size=8, workers=1)
    for is_reading in (False, True):
        stream = ParticleStream(config, shuffle_particles=32)
        batches = stream.batches(0)
        if is_reading:
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
