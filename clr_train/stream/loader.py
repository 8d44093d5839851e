"""Reading the spans of an epoch, in processes of its own if there are to be any."""

from __future__ import annotations

import atexit
import weakref
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch.utils.data import DataLoader, Sampler

from clr_train.batch import ParticleBatch
from clr_train.stream.spans import Request, Spans
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors import without_main_script

__all__ = ["SpanLoader"]


class _Requests(Sampler[Request]):
    """The requests of an epoch, set before each pass over the loader that takes them."""

    def __init__(self) -> None:
        self.pending: Sequence[Request] = ()

    def __iter__(self) -> Iterator[Request]:
        return iter(self.pending)

    def __len__(self) -> int:
        return len(self.pending)


class SpanLoader:
    """Reads spans, ahead of time where processes do it.

    Parameters
    ----------
    spans : Spans
        What to read from.
    workers : int
        Processes that read; 0 reads in the calling one. They start with the first span, and stay.
    pin_memory : bool
        Whether spans lie in page-locked memory.
    """

    def __init__(self, spans: Spans, *, workers: int, pin_memory: bool) -> None:
        self.spans, self.workers, self.pin_memory = spans, workers, pin_memory
        self._requests = _Requests()
        self._loader: DataLoader[Any] | None = None
        if workers:
            atexit.register(_close, weakref.ref(self))

    def read(self, requests: Sequence[Request]) -> Iterator[ParticleBatch]:
        """Read what is requested, in order. To begin another such iteration ends this one.

        Raises
        ------
        ShardError
            If a shard is damaged.
        PilarnetError
            If a worker died.
        """
        self._requests.pending = requests
        if self._loader is None:
            self._loader = self._start()
        try:
            with without_main_script():
                spans = iter(self._loader)
            for span in spans:
                if isinstance(span, PilarnetError):
                    raise span
                yield span
        except (RuntimeError, ConnectionError, EOFError) as error:
            # The connections are those over which a process hands its tensors over.
            if isinstance(error, RuntimeError) and "DataLoader worker" not in str(error):
                raise
            self.close()
            raise PilarnetError(
                "a process that reads shards died",
                file=self.spans.reader.path,
                found=(str(error) or type(error).__name__).splitlines()[0],
                advice="it may have run out of memory: try fewer --workers, or none",
            ) from error

    def close(self) -> None:
        """End the processes; the next iteration starts new ones."""
        loader, self._loader = self._loader, None
        # Not left to the garbage collector: a script's variables outlive the order of its end.
        if loader is not None and loader._iterator is not None:
            loader._iterator._shutdown_workers()  # type: ignore[attr-defined]

    def _start(self) -> DataLoader[Any]:
        return DataLoader(
            self.spans,
            batch_size=None,
            sampler=self._requests,
            collate_fn=_as_it_is,
            num_workers=self.workers,
            persistent_workers=self.workers > 0,
            multiprocessing_context="spawn" if self.workers else None,
            pin_memory=self.pin_memory,
            # Without one of its own the loader would draw from torch's global generator.
            generator=torch.Generator(),
        )


def _close(reference: weakref.ref[SpanLoader]) -> None:
    loader = reference()
    if loader is not None:
        loader.close()


def _as_it_is(span: Any) -> Any:
    return span
