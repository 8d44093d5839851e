"""Features of a split before the projection head, in the order of the shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from clr_eval.cache import file_digest
from clr_eval.config import EmbedConfig
from clr_eval.embedding.files import Table, check_target, write_table
from clr_eval.embedding.split import provenance
from clr_train.learner import Learner
from clr_train.probe.features import collect
from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from clr_train.training.checkpoint import find_checkpoint
from clr_train.training.pretrained import load_learner
from pilarnet_convert.console import progress_bar
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.reader import Places, open_shards
from pilarnet_convert.species import CLASS_NAMES

__all__ = ["Embeddings", "embed", "embed_to_file"]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The particles of a split as vectors, in the order of the shards.

    Parameters
    ----------
    features : float32 array [N, D]
        The output of the encoder, before the projection head.
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
    checkpoint: str | Path, shards: Places, *, show_progress: bool = False, **options: Any
) -> Embeddings:
    """Embed every particle of a split.

    Parameters
    ----------
    checkpoint : path
        A checkpoint of ``clr-train``.
    shards : str, Path or RemotePath, or a sequence of them
        Shards written by ``pilarnet-convert``.
    show_progress : bool
        Draw a bar on standard error if that is a terminal.
    **options
        The other options of `clr_eval.config.EmbedConfig`: ``split``, ``batch_size``, ``device``,
        ``engine``, ``precision``.

    Raises
    ------
    PilarnetError
        If the checkpoint or the shards cannot be read, the split has no particles, the device or
        engine does not exist, or features are not finite.
    """
    config = EmbedConfig(checkpoint=str(checkpoint), shards=shards, **options)
    table = _make_table(config, show=show_progress)
    return Embeddings(
        features=np.concatenate(list(table.blocks)),
        columns=dict(table.columns),
        attributes=dict(table.attributes),
    )


def embed_to_file(
    checkpoint: str | Path,
    shards: Places,
    *,
    out: str | Path,
    overwrite: bool = False,
    show_progress: bool = False,
    **options: Any,
) -> Path:
    """Embed every particle of a split into a file; its features are never all in memory.

    Parameters
    ----------
    out : path
        The file, which is returned; its name ends in ``.zarr``, ``.parquet``, ``.h5`` or ``.npz``
        (which needs the memory).
    overwrite : bool
        Replace an existing file.
    checkpoint, shards, show_progress, **options
        As for `embed`.

    Raises
    ------
    PilarnetError
        As for `embed`; if `out` exists, or has another ending.
    """
    config = EmbedConfig(checkpoint=str(checkpoint), shards=shards, **options)
    target = check_target(out, overwrite=overwrite)
    write_table(target, _make_table(config, show=show_progress))
    return target


def _make_table(config: EmbedConfig, *, show: bool) -> Table:
    learner = load_learner(
        config.checkpoint, device=config.device, engine=config.engine, precision=config.precision
    )
    chosen = StreamConfig(shards=config.shards, split=config.split, batch_size=config.batch_size)
    stream = ParticleStream(chosen)
    opened = open_shards(config.shards)
    columns = provenance(config.shards, split=config.split)
    if stream.num_particles != len(columns["label"]):
        raise PilarnetError(
            "particles without voxels cannot be embedded",
            file=opened,
            field=config.split,
            found=len(columns["label"]) - stream.num_particles,
            advice="convert again with --min-voxels 1 or more",
        )
    return Table(
        columns=columns,
        width=learner.model.encoder.out_features,
        blocks=_blocks(learner, stream, batch_size=config.batch_size, show=show),
        attributes={
            "checkpoint": config.checkpoint,
            "checkpoint_sha256": file_digest(find_checkpoint(config.checkpoint)),
            "shards": str(opened),
            "split": config.split,
            "classes": list(CLASS_NAMES),
            "sources": [source["name"] for source in opened.attributes.get("sources", [])],
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
