"""Figures and pictures of a run in TensorBoard and in Weights & Biases."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Protocol

import numpy as np
from numpy.typing import NDArray
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

from pilarnet_convert.errors import MissingDependencyError, how_to_install

__all__ = ["TAGS", "TensorBoard", "Tracker", "WeightsAndBiases", "import_wandb"]

_PROBES: Final = {
    "knn": "nearest neighbours",
    "linear": "linear probe",
    "untrained_knn": "nearest neighbours, untrained encoder",
    "untrained_linear": "linear probe, untrained encoder",
    "majority": "majority class",
}
#: Names that are shown, by the columns of metrics.csv; what is before the ``/`` is a section.
TAGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "epoch": "training/epoch",
        "loss": "training/loss",
        "learning_rate": "training/learning rate",
        "gradient_norm": "training/norm of the gradient",
        "particles": "training/particles of the step",
        "seconds": "training/seconds",
        "particles_per_second": "training/particles per second",
        "data_wait_share": "training/share of the time waiting for data",
        "val_loss": "validation/loss",
        "val_alignment": "validation/alignment",
        "val_uniformity": "validation/uniformity",
        **{
            f"val_{probe}_{what}": f"validation, {what.replace('_', ' ')}/{title}"
            for probe, title in _PROBES.items()
            for what in ("accuracy", "balanced_accuracy")
        },
    }
)
#: Figures that the table of hyper-parameters shows beside the options.
_HEADLINES: Final = ("loss", "val_loss", "val_linear_balanced_accuracy")


class Tracker(Protocol):
    """Receives the figures and the pictures of a run."""

    def log(self, row: Mapping[str, float], *, step: int) -> None:
        """Add figures by the names of `TAGS`."""

    def show(self, pictures: Mapping[str, NDArray[np.uint8]], *, step: int) -> None:
        """Add pictures, uint8 [height, width, 3], by name."""

    def close(self, *, failed: bool) -> None:
        """End the run."""


class TensorBoard:
    """Event files in a folder; those of an interrupted run are hidden from `next_step` on."""

    def __init__(self, folder: Path, *, options: Mapping[str, Any], next_step: int) -> None:
        self._writer = SummaryWriter(str(folder), purge_step=next_step)
        values = {name: _plain(value) for name, value in options.items() if value not in (None, [])}
        metrics = dict.fromkeys(map(TAGS.__getitem__, _HEADLINES))
        for summary in hparams(values, metrics):  # type: ignore[no-untyped-call]
            self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]
        rows = "\n".join(f"| {name} | {value} |" for name, value in values.items())
        self._writer.add_text("options", f"| option | value |\n| --- | --- |\n{rows}", next_step)

    def log(self, row: Mapping[str, float], *, step: int) -> None:
        """Add figures, see `Tracker`."""
        for name, value in row.items():
            self._writer.add_scalar(TAGS[name], value, step)

    def show(self, pictures: Mapping[str, NDArray[np.uint8]], *, step: int) -> None:
        """Add pictures, see `Tracker`."""
        for name, picture in pictures.items():
            self._writer.add_image(f"pictures/{name}", picture, step, dataformats="HWC")
        self._writer.flush()

    def close(self, *, failed: bool) -> None:  # noqa: ARG002
        """Close the files."""
        self._writer.close()


class WeightsAndBiases:
    """A run of a project; with ``--resume`` the same run continues."""

    def __init__(self, project: str, *, folder: Path, options: Mapping[str, Any]) -> None:
        wandb = import_wandb()
        identity = folder / "wandb.id"
        if not identity.exists():
            identity.write_text(uuid.uuid4().hex, encoding="utf-8")
        self._picture = wandb.Image
        self._run = wandb.init(
            project=project,
            name=folder.name,
            id=identity.read_text(encoding="utf-8"),
            resume="allow",
            dir=str(folder),
            config=dict(options),
        )

    def log(self, row: Mapping[str, float], *, step: int) -> None:
        """Add figures, see `Tracker`."""
        self._run.log({TAGS[name]: value for name, value in row.items()}, step=step)

    def show(self, pictures: Mapping[str, NDArray[np.uint8]], *, step: int) -> None:
        """Add pictures, see `Tracker`."""
        found = {f"pictures/{name}": self._picture(pixels) for name, pixels in pictures.items()}
        self._run.log(found, step=step)

    def close(self, *, failed: bool) -> None:
        """End the run."""
        self._run.finish(exit_code=1 if failed else 0)


def _plain(value: Any) -> int | float | str:
    """Write an option as a value of TensorBoard's table, which shows a bool as a number."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float | str):
        return value
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)


def import_wandb() -> Any:
    """Import ``wandb``.

    Raises
    ------
    MissingDependencyError
        It is not installed.
    """
    try:
        import wandb
    except ImportError:
        raise MissingDependencyError(
            "wandb is not installed",
            field="--wandb",
            advice=f"{how_to_install('wandb')}; or leave the option out",
        ) from None
    return wandb
