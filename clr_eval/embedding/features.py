"""Features of a split, or of all splits, in the order of the shards."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from clr_eval.config import EmbedConfig
from clr_eval.embedding.files import EmbeddingTable, check_target, write_table
from clr_eval.embedding.split import read_provenance
from clr_train.batch import ParticleBatch
from clr_train.probe.features import collect
from clr_train.stream.config import StreamConfig
from clr_train.stream.stream import ParticleStream
from clr_train.training.checkpoint import read_checkpoint
from clr_train.training.pretrained import make_learner
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import ShardPaths, open_shards
from pilarnet_convert.species import CLASS_NAMES

__all__ = ["Embeddings", "embed", "embed_to_file"]


@dataclass(frozen=True, kw_only=True)
class Embeddings:
    """The particles of a split as vectors, in the order of the shards.

    Parameters
    ----------
    features : float32 array [N, D]
        The output of the encoder, or of the projection head.
    columns : dict of str to array [N]
        ``label`` and ``pdg``; ``source`` (an index into ``attributes["sources"]``), ``run``,
        ``subrun``, ``event``, ``entry``, ``cluster`` and ``track_id``, which say where a particle
        comes from; ``num_voxels``; ``energy_init`` and ``energy_deposit``, MeV; with all splits,
        ``split``, an index into ``attributes["splits"]``.
    attributes : dict
        Checkpoint, shards, split, layer, names of the classes and of the sources.
    """

    features: NDArray[np.float32]
    columns: dict[str, NDArray[Any]]
    attributes: dict[str, Any]

    @property
    def label(self) -> NDArray[np.int8]:
        """Classes, int8 [N], as `pilarnet_convert.species.CLASSES` numbers them."""
        return self.columns["label"]


class Written(NamedTuple):
    """A file of embeddings: its path, and the number and width of its rows."""

    path: Path
    particles: int
    width: int


def embed(
    checkpoint: str | Path, shards: ShardPaths, *, show_progress: bool = False, **options: Any
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
        The other options of `clr_eval.config.EmbedConfig`: ``split``, ``layer``, ``batch_size``,
        ``device``, ``engine``, ``precision``.

    Returns
    -------
    Embeddings

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
    shards: ShardPaths,
    *,
    out: str | Path,
    overwrite: bool = False,
    show_progress: bool = False,
    **options: Any,
) -> Written:
    """Embed every particle of a split into a file.

    The parameters that are not listed are those of `embed`.

    Parameters
    ----------
    out : path
        The file; its name ends in ``.zarr`` or ``.parquet``, or in ``.h5`` or ``.npz``, which need
        memory for all features.
    overwrite : bool
        Replace an existing file.

    Returns
    -------
    Written
        The path, and the numbers of particles and features.

    Raises
    ------
    PilarnetError
        As for `embed`; if `out` exists, or has another ending.
    """
    config = EmbedConfig(checkpoint=str(checkpoint), shards=shards, **options)
    target = check_target(out, overwrite=overwrite)
    table = _make_table(config, show=show_progress)
    write_table(target, table)
    return Written(path=target, particles=table.num_rows, width=table.width)


def _make_table(config: EmbedConfig, *, show: bool) -> EmbeddingTable:
    checkpoint = read_checkpoint(config.checkpoint)
    learner = make_learner(
        checkpoint, device=config.device, engine=config.engine, precision=config.precision
    )
    opened = open_shards(config.shards)
    splits, named = [config.split], {}
    if config.split == "all":
        splits = [split for split in SPLITS if opened.num_particles(split)] or list(SPLITS)
        named = {"splits": list(SPLITS)}
    streams = {
        split: ParticleStream(
            StreamConfig(shards=config.shards, split=split, batch_size=config.batch_size)
        )
        for split in splits
    }
    projected = config.layer == "projection"
    part = learner.model.head if projected else learner.model.encoder
    return EmbeddingTable(
        columns=_columns(config, streams),
        width=part.out_features,
        blocks=_blocks(
            list(streams.values()),
            features=partial(learner.represent, projected=projected),
            batch_size=config.batch_size,
            show=show,
        ),
        attributes={
            "checkpoint": config.checkpoint,
            "checkpoint_sha256": checkpoint.sha256,
            "shards": str(opened),
            "split": config.split,
            "layer": config.layer,
            **named,
            "classes": list(CLASS_NAMES),
            "sources": [source["name"] for source in opened.attributes.get("sources", [])],
            "energy_unit": "MeV",
        },
    )


def _columns(config: EmbedConfig, streams: Mapping[str, ParticleStream]) -> dict[str, NDArray[Any]]:
    """Read what particles are and where they come from, and check that each will be embedded."""
    tables = {split: read_provenance(config.shards, split=split) for split in streams}
    for split, stream in streams.items():
        if missing := len(tables[split]["label"]) - stream.num_particles:
            raise PilarnetError(
                "particles without voxels cannot be embedded",
                file=open_shards(config.shards),
                field=split,
                found=missing,
                advice="convert again with --min-voxels 1 or more",
            )
    names = tables[next(iter(tables))]
    columns = {n: np.concatenate([table[n] for table in tables.values()]) for n in names}
    if config.split == "all":
        counts = [stream.num_particles for stream in streams.values()]
        columns["split"] = np.repeat([SPLITS.index(split) for split in streams], counts).astype(
            "i1"
        )
    return columns


def _blocks(
    streams: Sequence[ParticleStream],
    *,
    features: Callable[[ParticleBatch], Tensor],
    batch_size: int,
    show: bool,
) -> Iterator[NDArray[np.float32]]:
    total = sum(stream.num_particles for stream in streams)
    with progress_bar(
        total=total,
        unit="particle",
        description="embed",
        show=show,
        advice="a GPU shortens it, and so does --precision bf16 on one",
    ) as bar:
        for batch in chain.from_iterable(stream.sequential(batch_size) for stream in streams):
            part = collect(iter([batch]), features=features)
            yield part.values.astype(np.float32, copy=False)
            bar.update(batch.num_particles)
