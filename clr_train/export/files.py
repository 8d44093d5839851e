"""The folder of an exported encoder, in the form that the Hugging Face hub takes.

================= ==============================================================
model.safetensors the weights of the network, without the projection head
config.json       what they are: see `export_encoder`
README.md         the model card
================= ==============================================================
"""

from __future__ import annotations

import csv
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from clr_train.export.card import model_card
from clr_train.export.encoder import Encoder
from clr_train.network.models import EncoderConfig
from clr_train.runtime.processes import pick_device
from clr_train.training.checkpoint import CheckpointError, read_checkpoint
from clr_train.training.pretrained import config_of, make_learner
from clr_train.views.energy import ENERGY_TRANSFORMS
from pilarnet_convert import __version__
from pilarnet_convert.errors import (
    MissingDependencyError,
    PilarnetError,
    ShardError,
    brief,
    how_to_install,
)
from pilarnet_convert.files import folder_written_beside, read_json_object
from pilarnet_convert.shards.reader import ShardPaths, open_shards
from pilarnet_convert.species import CLASS_NAMES, CLASSES
from pilarnet_convert.storage.remote import as_path

__all__ = ["export_encoder", "load_encoder"]

FORMAT: Final = "pilarnet-clr-encoder"
VERSION: Final = 1
_WEIGHTS: Final = "model.safetensors"
_ABOUT: Final = "config.json"
_CARD: Final = "README.md"
#: Options that concern the machine of a run, not what is learnt.
_OF_THE_MACHINE: Final = ("shards", "unlabelled", "out", "device", "workers", "wandb")


def export_encoder(
    checkpoint: str | Path,
    out: str | Path,
    *,
    shards: ShardPaths | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the encoder of a checkpoint by itself, with what is known of it.

    ``config.json`` has ``format`` and ``version``; ``encoder``, the shape of the network;
    ``energy_transform``; ``out_features``; ``classes``; ``training``: steps, options, the identity
    of the shards and, where they can be read, their classes and sources, and the scores of the
    validation at that step; ``weights``: file, size and SHA-256; ``created_by``.

    Parameters
    ----------
    checkpoint : path
        A checkpoint file, or a run folder: its best checkpoint, else its latest.
    out : path
        The folder to write; it appears when it is complete.
    shards : path or URL, or a list of them, optional
        Where the shards of the training are now; by default where they were then.
    overwrite : bool
        Replace an earlier export.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    CheckpointError
        If the checkpoint cannot be read, or is of another version.
    ShardError
        If `shards` are given and cannot be read, or are not those of the training.
    PilarnetError
        If `out` is in use.
    MissingDependencyError
        If safetensors is not installed.
    """
    _, save = _safetensors()
    out, loaded = as_path(out), read_checkpoint(checkpoint)
    state = loaded.state
    network = make_learner(loaded, device="cpu").model.encoder
    config = config_of(state, file=loaded.path)
    weights = save(network.state_dict(), metadata={"format": "pt"})
    options = {k: v for k, v in config.to_dict().items() if k not in _OF_THE_MACHINE}
    about = {
        "format": FORMAT,
        "version": VERSION,
        "created_by": f"pilarnet-clr {__version__}",
        "encoder": state["encoder"],
        "num_parameters": sum(parameter.numel() for parameter in network.parameters()),
        "out_features": network.out_features,
        "energy_transform": config.energy_transform,
        "energy_transform_meaning": ENERGY_TRANSFORMS[config.energy_transform].meaning,
        "classes": [{"label": c.label, "name": c.name} for c in CLASSES],
        "training": {
            "steps": state["step"],
            "particles": state["stream"]["num_particles"],
            "options": options,
            **_training_data(state, given=shards),
            "scores": _scores(loaded.path, step=state["step"]),
        },
        "weights": {
            "file": _WEIGHTS,
            "size": len(weights),
            "sha256": hashlib.sha256(weights).hexdigest(),
        },
    }
    with folder_written_beside(out, is_ours=_is_encoder, overwrite=overwrite) as folder:
        (folder / _WEIGHTS).write_bytes(weights)
        (folder / _CARD).write_text(model_card(about), encoding="utf-8")
        (folder / _ABOUT).write_text(json.dumps(about, indent=2) + "\n", encoding="utf-8")
    return out


def load_encoder(path: str | Path, *, device: str = "cpu", engine: str = "auto") -> Encoder:
    """Load an exported encoder; it needs neither the folder of its run nor its shards.

    Parameters
    ----------
    path : path
        What `export_encoder` or ``clr-export`` wrote.
    device : str
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"cuda:N"``; auto takes a GPU if there is one.
    engine : str
        The sparse engine: ``"auto"``, ``"torch"`` or ``"minkowski"``.

    Returns
    -------
    Encoder
        On the CPU its features are those of the checkpoint, bit for bit.

    Raises
    ------
    CheckpointError
        If the folder holds no encoder or one of another version, or is damaged.
    MissingDependencyError
        If safetensors is not installed.
    """
    load, _ = _safetensors()
    path = as_path(path)
    about = _read_about(path)
    try:
        weights = _read_weights(path, about["weights"])
        shape: dict[str, Any] = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in about["encoder"].items()
        }
        if about["energy_transform"] not in ENERGY_TRANSFORMS:
            raise ValueError(f"unknown energy transform {about['energy_transform']!r}")
        encoder = Encoder(
            EncoderConfig(**shape),
            energy_transform=about["energy_transform"],
            about=about,
            engine=engine,
        )
        encoder.network.load_state_dict(load(weights))
    except (KeyError, TypeError, ValueError, AttributeError, RuntimeError) as error:
        raise CheckpointError(
            "config.json and the weights do not fit together",
            file=path,
            found=brief(error),
            advice="use the release of pilarnet-clr that wrote it",
        ) from error
    return encoder.to(pick_device(device)).eval()


def _is_encoder(folder: Path) -> bool:
    return read_json_object(folder / _ABOUT).get("format") == FORMAT


def _read_about(path: Path) -> dict[str, Any]:
    advice = "make one with clr-export --checkpoint CKPT --out encoder/"
    if not path.is_dir():
        raise CheckpointError("no such folder", file=path, advice=advice)
    if not (path / _ABOUT).is_file():
        raise CheckpointError("the folder holds no exported encoder", file=path, advice=advice)
    try:
        about: dict[str, Any] = json.loads((path / _ABOUT).read_bytes())
        found = (about["format"], about["version"])
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise CheckpointError(
            "not the description of an exported encoder",
            file=path / _ABOUT,
            found=brief(error),
            advice=advice,
        ) from error
    if found != (FORMAT, VERSION):
        raise CheckpointError(
            "an encoder of another format or version",
            file=path / _ABOUT,
            expected=f"{FORMAT} {VERSION}",
            found=f"{found[0]} {found[1]}",
            advice="use the release of pilarnet-clr that wrote it",
        )
    return about


def _read_weights(path: Path, expected: Mapping[str, Any]) -> bytes:
    try:
        data = (path / _WEIGHTS).read_bytes()
    except OSError as error:
        raise CheckpointError(
            "the weights are missing",
            file=path,
            found=error.strerror,
            advice="export the encoder again",
        ) from error
    digest = hashlib.sha256(data).hexdigest()
    if digest != expected["sha256"]:
        raise CheckpointError(
            "the weights are damaged",
            file=path / _WEIGHTS,
            expected=f"SHA-256 {expected['sha256']} of {expected['size']:,} bytes",
            found=f"{digest} of {len(data):,} bytes",
            advice="export the encoder again",
        )
    return data


def _training_data(state: Mapping[str, Any], *, given: ShardPaths | None) -> dict[str, Any]:
    """Describe the shards of a training, and those whose labels it did not use."""
    config = state["config"]
    identity, _, unlabelled = str(state["stream"]["shards"]).partition(" and ")
    data = {"shards": _describe(config, "shards", identity=identity, given=given)}
    if unlabelled:
        data["unlabelled"] = _describe(config, "unlabelled", identity=unlabelled, given=None)
    return data


def _describe(
    config: Mapping[str, Any], option: str, *, identity: str, given: ShardPaths | None
) -> dict[str, Any]:
    """Return the identity of a set of shards, and what is in it if it is there to be read."""
    description: dict[str, Any] = {"identity": identity, "particles": None, "sources": None}
    try:
        shards = open_shards(given or config[option])
    except PilarnetError:
        if given is None:
            return description
        raise
    if shards.identity != identity:
        if given is None:
            return description
        raise ShardError(
            "not the shards of the training",
            file=shards,
            expected=f"the set {identity}",
            found=shards.identity,
        )
    split = shards.splits[config["split"]]
    particles = {name: sum(shard.counts[name] for shard in split) for name in CLASS_NAMES}
    sources = [dict(source) for source in shards.attributes.get("sources", [])]
    return description | {"particles": particles, "sources": sources}


def _scores(checkpoint: Path, *, step: int) -> dict[str, float]:
    """Read the validation of a step from the metrics of the run that the checkpoint lies in."""
    folder = checkpoint.resolve().parent
    if folder.name != "checkpoints":
        return {}
    try:
        with (folder.parent / "metrics.csv").open(newline="", encoding="utf-8") as file:
            row = next(row for row in csv.DictReader(file) if row["step"] == str(step))
        names = [name for name in row if (name or "").startswith("val_") and row[name]]
        return {name: float(row[name]) for name in names}
    except (OSError, StopIteration, KeyError, ValueError, csv.Error):  # no metrics, or edited ones
        return {}


def _safetensors() -> tuple[Any, Any]:
    """Return the functions that read and write weights."""
    try:
        from safetensors.torch import load, save
    except ImportError as error:
        raise MissingDependencyError(
            "encoders are kept by safetensors, which is not installed",
            advice=how_to_install("train"),
        ) from error
    return load, save
