"""Reading spans of particles, in other processes if there are to be any."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler

from clr_train.batch import ParticleBatch
from clr_train.stream.reader import SplitReader
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors.local import without_main_script

__all__ = ["SpanLoader"]


class _Spans(Dataset[ParticleBatch | PilarnetError]):
    """Particles of a split by their numbers, as a `DataLoader` asks for them."""

    def __init__(self, reader: SplitReader) -> None:
        self.reader = reader

    def __getitem__(self, particles: NDArray[np.int64]) -> ParticleBatch | PilarnetError:
        try:
            return self.reader.read(particles)
        except PilarnetError as error:
            # Returned, not raised: the DataLoader would add the traceback of its process.
            return error


class _Requests(Sampler[NDArray[np.int64]]):
    """The spans of the next iteration over a `DataLoader`."""

    spans: Iterable[NDArray[np.int64]] = ()

    def __iter__(self) -> Iterator[NDArray[np.int64]]:
        return iter(self.spans)


class SpanLoader:
    """Reads spans of particles (see `sampling`), ahead of time if there are `workers`.

    These are other processes, which start with the first span. With `pin_memory`, spans are in
    page-locked memory.
    """

    def __init__(self, reader: SplitReader, *, workers: int, pin_memory: bool) -> None:
        self.reader, self.workers, self.pin_memory = reader, workers, pin_memory
        self._requests = _Requests()
        self._loader: DataLoader[Any] | None = None
        if workers:
            # At exit the processes must end before the modules that they need are torn down.
            atexit.register(_close, weakref.ref(self))

    def read(self, spans: Iterable[NDArray[np.int64]]) -> Iterator[ParticleBatch]:
        """Read spans of particles, each as one batch; a second iteration ends the first.

        A span crosses to this process as a whole, because every tensor that processes share costs a
        file descriptor. A PilarnetError is raised if a shard is damaged or a process that reads
        died.
        """
        self._requests.spans = spans
        if self._loader is None:
            self._loader = DataLoader(
                _Spans(self.reader),
                batch_size=None,
                sampler=self._requests,
                num_workers=self.workers,
                persistent_workers=self.workers > 0,
                multiprocessing_context="spawn" if self.workers else None,
                pin_memory=self.pin_memory,
                # Without a generator of its own it would draw from torch's global one.
                generator=torch.Generator(),
            )
        try:
            with without_main_script():
                batches = iter(self._loader)
            for batch in batches:
                if isinstance(batch, PilarnetError):
                    raise batch
                yield batch
        except (RuntimeError, ConnectionError, EOFError) as error:
            # Tensors come over a connection, which breaks when the process dies.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            self.close()
            raise PilarnetError(
                "a process that reads shards died",
                file=self.reader.path,
                found=(str(error) or type(error).__name__).splitlines()[0],
                advice="it may have run out of memory: try fewer --workers, or none",
            ) from error

    def close(self) -> None:
        """End the processes; the next iteration starts new ones."""
        loader, self._loader = self._loader, None
        if loader is not None and loader._iterator is not None:
            loader._iterator._shutdown_workers()  # type: ignore[attr-defined]


def _close(reference: weakref.ref[SpanLoader]) -> None:
    loader = reference()
    if loader is not None:
        loader.close()
