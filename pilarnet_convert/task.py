"""What worker processes do: index a source, turn a unit into a segment, pack a shard.

Everything a worker needs comes with the call or was given to it once at its start; everything it
makes is on disk when it returns.
"""

from __future__ import annotations

import ctypes
import gc
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import forkserver, resource_tracker
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any, Literal, ParamSpec, TypeVar

from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.executors import without_script
from pilarnet_convert.particles import Selection, particle_clouds
from pilarnet_convert.plan import SourceFiles, Unit
from pilarnet_convert.readers.dlp import DlpReader, index_dlp_source
from pilarnet_convert.readers.events import Reader, Source, UnknownPdg, check_columns
from pilarnet_convert.readers.larcv2 import NativeReader, index_source
from pilarnet_convert.shards.writer import write_shard
from pilarnet_convert.spool import UnitReport, join_segments, write_segment

__all__ = ["ReaderName", "Setting", "Workers", "convert_unit", "index_files", "pack_shard"]

ReaderName = Literal["native", "dlp"]
_INDEXERS: Mapping[str, Callable[..., Source]] = {"native": index_source, "dlp": index_dlp_source}
_READERS: Mapping[str, Callable[..., Reader]] = {"native": NativeReader, "dlp": DlpReader}
_P = ParamSpec("_P")
_T = TypeVar("_T")


@dataclass(frozen=True, kw_only=True)
class Setting:
    """What holds for all the work of a conversion.

    Attributes
    ----------
    out, segments, scratch : Path
        Where shards, segments and unfinished shards go.
    sources : mapping of int to Source
        The indexed sources.
    reader : str
        Which reader to use.
    selection : Selection
        What to keep.
    unknown_pdg : {"error", "other"}
        What to do with a PDG code that names no particle.
    """

    out: Path
    segments: Path
    scratch: Path
    sources: Mapping[int, Source]
    reader: ReaderName
    selection: Selection
    unknown_pdg: UnknownPdg


_setting: Setting | None = None
_open: tuple[int, Reader] | None = None


def index_files(reader: ReaderName, source: SourceFiles) -> Source:
    """Look into the files of a source."""
    return _INDEXERS[reader](source.name, source.files)


def convert_unit(number: int, unit: Unit) -> UnitReport:
    """Read, check and split the events of a unit, and write its segment."""
    setting = _the_setting()
    source = setting.sources[unit.source]
    columns = _reader_of(unit.source).read(unit.start, unit.stop)
    check_columns(columns, unknown_pdg=setting.unknown_pdg)
    clouds, split_bounds, tally = particle_clouds(
        columns, source_name=source.name, source=unit.source, selection=setting.selection
    )
    return write_segment(
        setting.segments,
        number,
        clouds,
        split_bounds=split_bounds,
        process_names=columns.process_names,
        tally=tally,
    )


def pack_shard(name: str, parts: Sequence[tuple[int, int, int]]) -> None:
    """Pack ranges of particles of some segments into the shard ``name``."""
    setting = _the_setting()
    columns, process_names = join_segments(setting.segments, name.split("/")[0], parts)
    write_shard(setting.out / name, columns, process_names=process_names, scratch=setting.scratch)


def _the_setting() -> Setting:
    if _setting is None:
        raise RuntimeError("work was given to a process that was not told the setting")
    return _setting


def _reader_of(source: int) -> Reader:
    """Open the reader of a source, or keep the one that is open."""
    global _open
    if _open is None or _open[0] != source:
        _close_reader()
        setting = _the_setting()
        _open = (source, _READERS[setting.reader](setting.sources[source]))
    return _open[1]


def _close_reader() -> None:
    global _open
    if _open is not None:
        _open[1].close()
    _open = None


def _begin(setting: Setting | None) -> None:
    global _setting
    _close_reader()
    _setting = setting


def _begin_process(setting: Setting | None) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # should the server have run before
    # Blosc makes a lock of the default kind; this kind leaves nothing behind if it is killed.
    multiprocessing.set_start_method("fork", force=True)
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _keep_freed_memory()
    gc.freeze()  # what was imported is shared with the server until a collection touches it
    _begin(setting)


def _keep_freed_memory() -> None:
    """Let glibc keep the arrays of one unit for the next: asking the kernel again costs more.

    Only in workers, which are ours; the values are those of ``mallopt(3)``.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        trim_threshold, mmap_threshold = -1, -3
        mallopt(mmap_threshold, 1 << 28)
        mallopt(trim_threshold, 1 << 28)


def _end_with_parent() -> None:
    """End this process when its parent is gone, killed included: nobody would ever tell it."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


class _InProcess(Executor):
    """Runs what it is given at once, in this process."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        future: Future[_T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except Exception as error:
            future.set_exception(error)
        return future


class _Pool(ProcessPoolExecutor):
    """Starts workers undisturbed: who is half started when this process ends has nobody to tell."""

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        with _signals_held(signal.SIGINT, signal.SIGTERM), without_script():
            return super().submit(fn, *args, **kwargs)


@contextmanager
def _signals_held(*numbers: signal.Signals) -> Iterator[None]:
    """Let signals wait. Only the main thread ever handles them, so only there are they held.

    Blocking them would not do: another thread takes them, and the main thread handles them still.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[int] = []
    before = {n: signal.signal(n, lambda number, _: waiting.append(number)) for n in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, signal.SIG_DFL if handler is None else handler)
        for came in waiting:
            signal.raise_signal(came)


@contextmanager
def Workers(number: int, setting: Setting | None = None) -> Iterator[Executor]:
    """Start worker processes, or with one worker work in this process.

    Workers are forked from a server process that has imported this module and nothing else runs
    in, so that neither threads nor open files are inherited from a notebook.
    """
    if number == 1:
        _begin(setting)
        try:
            yield _InProcess()
        finally:
            _begin(None)
        return
    context: Any = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    _start_server()
    pool = _Pool(number, mp_context=context, initializer=_begin_process, initargs=(setting,))
    try:
        yield pool
    except BrokenProcessPool as error:
        raise PilarnetError(
            "a worker process vanished",
            found="killed from outside, or out of memory",
            advice="go on with --resume, with fewer --workers if memory is short",
        ) from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _start_server() -> None:
    """Start the server that workers are forked from, deaf to Ctrl-C, as are its children.

    Ctrl-C reaches the whole process group; the parent decides what is finished first.
    """
    resource_tracker.ensure_running()  # it unblocks the signal, so it comes before
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
