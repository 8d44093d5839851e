"""Features of a split before the projection head, in the order of the shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_eval.cache import file_digest
from clr_eval.embedding.files import Table, check_target, write_table
from clr_eval.embedding.split import provenance
from clr_train.learner import Learner
from clr_train.probe.features import collect
from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from clr_train.training.pretrained import load_learner
from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.reader import open_shards
from pilarnet_convert.species import CLASSES

__all__ = ["Embeddings", "embed", "embed_to_file"]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The particles of a split as vectors, in the order of the shards.

    Parameters
    ----------
    features : float32 array [N, D]
        What the encoder gives, before the projection head.
    columns : dict of str to array [N]
        ``label`` and ``pdg``; ``source`` (an index into ``attributes["sources"]``), ``run``,
        ``subrun``, ``event``, ``entry``, ``cluster`` and ``track_id``, which say where a particle
        comes from; ``num_voxels``; ``energy_init`` and ``energy_deposit``, MeV.
    attributes : dict
        Checkpoint, shards, split, names of the classes and of the sources.
    """

    features: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]
    attributes: dict[str, Any]

    @property
    def label(self) -> NDArray[np.int8]:
        """Classes, int8 [N], as `pilarnet_convert.species.CLASSES` numbers them."""
        return self.columns["label"]


def embed(
    checkpoint: str | Path,
    shards: str | Path,
    *,
    split: str = "test",
    batch_size: int = 256,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    show_progress: bool = False,
) -> Embeddings:
    """Embed every particle of a split.

    Parameters
    ----------
    checkpoint : path
        Of ``clr-train``.
    shards : path
        Of ``pilarnet-convert``.
    split : str
        ``train``, ``val`` or ``test``.
    batch_size : int
        Particles embedded at once: it sets memory and speed. A particle's features depend on no
        other particle. On the CPU with one thread, batches of 7 and more were seen to give the
        same bits; a batch of one, or other numbers of threads, take other paths through the
        matrix products and differ in the last bit (3e-7 of the largest feature; tested to 1e-5).
    device, engine, precision : str
        As the options of ``clr-train``; ``fp32`` unless told otherwise.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.

    Returns
    -------
    Embeddings

    Raises
    ------
    PilarnetError
        A checkpoint or shards that cannot be read, a split without particles, a device or engine
        that is not there, or features that are not finite.
    """
    learner = load_learner(checkpoint, device=device, engine=engine, precision=precision)
    table = _table(
        learner, checkpoint, shards, split=split, batch_size=batch_size, show=show_progress
    )
    return Embeddings(
        features=np.concatenate(list(table.blocks)),
        columns=dict(table.columns),
        attributes=dict(table.attributes),
    )


def embed_to_file(
    checkpoint: str | Path,
    shards: str | Path,
    *,
    out: str | Path,
    overwrite: bool = False,
    split: str = "test",
    batch_size: int = 256,
    device: str = "auto",
    engine: str = "auto",
    precision: str = "fp32",
    show_progress: bool = False,
) -> Path:
    """Embed every particle of a split into a file; its features are never all in memory.

    Parameters
    ----------
    out : path
        A name that ends in ``.zarr``, ``.parquet``, ``.h5`` or ``.npz`` (which needs the memory).
    overwrite : bool
        Replace what is there.
    checkpoint, shards, split, batch_size, device, engine, precision, show_progress
        As for `embed`.

    Returns
    -------
    Path

    Raises
    ------
    PilarnetError
        As for `embed`; `out` exists, or has another ending.
    """
    target = check_target(out, overwrite=overwrite)
    learner = load_learner(checkpoint, device=device, engine=engine, precision=precision)
    write_table(
        target,
        _table(learner, checkpoint, shards, split=split, batch_size=batch_size, show=show_progress),
    )
    return target


def _table(
    learner: Learner,
    checkpoint: str | Path,
    shards: str | Path,
    *,
    split: str,
    batch_size: int,
    show: bool,
) -> Table:
    stream = ParticleStream(StreamConfig(shards=shards, split=split, batch_size=batch_size))
    columns = provenance(shards, split=split)
    if stream.num_particles != len(columns["label"]):
        raise PilarnetError(
            "particles without voxels cannot be embedded",
            file=shards,
            field=split,
            found=len(columns["label"]) - stream.num_particles,
            advice="convert again with --min-voxels 1 or more",
        )
    sources = open_shards(shards).attributes.get("sources", [])
    return Table(
        columns=columns,
        width=learner.model.encoder.out_features,
        blocks=_blocks(learner, stream, batch_size=batch_size, show=show),
        attributes={
            "checkpoint": str(checkpoint),
            "checkpoint_sha256": file_digest(Path(checkpoint)),
            "shards": str(shards),
            "split": split,
            "classes": [species.name for species in CLASSES],
            "sources": [source["name"] for source in sources],
            "energy_unit": "MeV",
        },
    )


def _blocks(
    learner: Learner, stream: ParticleStream, *, batch_size: int, show: bool
) -> Iterator[NDArray[np.float32]]:
    total = stream.num_particles
    with progress_bar(total=total, unit="particle", description="embed", show=show) as bar:
        for batch in stream.sequential(batch_size):
            part = collect(iter([batch]), features=learner.represent)
            yield part.values.astype(np.float32, copy=False)
            bar.update(batch.num_particles)
