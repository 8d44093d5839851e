"""How often a request is made before it has failed for good, and the time between two tries."""

from __future__ import annotations

import random
import time
from typing import Final

__all__ = ["TRIES", "pause"]

#: How often a request is made before it has failed for good.
TRIES: Final = 6
_LONGEST_PAUSE_S: Final = 30.0


def pause(failures: int, *, first_s: float) -> None:
    """Wait before a request that failed `failures` times in a row is made again.

    The wait is about `first_s` seconds after the first failure, and twice as long after each
    further one. It is random within 50 %, so that many workers do not come back at once.
    """
    time.sleep(min(first_s * 2 ** (failures - 1), _LONGEST_PAUSE_S) * random.uniform(0.5, 1.5))
