"""An export as a whole: its folder, which appears whole, and the file that describes it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from pilarnet_convert import __version__
from pilarnet_convert.console.progress import progress_bar
from pilarnet_convert.errors import MissingDependencyError, PilarnetError, how_to_install
from pilarnet_convert.files import folder_written_beside, read_json_object
from pilarnet_convert.options import OptionError
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.shards.reader import Shards, open_shards
from pilarnet_convert.storage.remote import as_path

__all__ = ["FORMATS", "REVISIONS", "export"]

#: The module that writes each format, and the package that it needs.
FORMATS: Final = {
    "pilarnet-m": ("pilarnet_m", "h5py"),
    "parquet": ("parquet", "pyarrow"),
    "npz": ("npz", "numpy"),
}
#: Revisions of PILArNet-M that can be written.
REVISIONS: Final = ("v3", "v1")
_ABOUT: Final = "export.json"


def export(
    shards: Shards | str | Path,
    out: str | Path,
    *,
    format: str,
    splits: Sequence[str] = (),
    revision: str = "v3",
    overwrite: bool = False,
    show_progress: bool = False,
) -> Path:
    """Write the particles of shards in another format.

    Shards are read one after the other, in blocks; the memory needed does not grow with their
    number.

    Parameters
    ----------
    shards : Shards or path
        The shards, of one or several sets.
    out : path
        The folder to write; it appears whole.
    format : {"pilarnet-m", "parquet", "npz"}
        The format.
    splits : sequence of str
        The splits to write; all that have particles unless given.
    revision : {"v3", "v1"}
        The revision of ``pilarnet-m``, see `pilarnet_convert.export.pilarnet_m`.
    overwrite : bool
        Replace an earlier export.
    show_progress : bool
        Show the progress in particles on the terminal.

    Returns
    -------
    Path
        The folder.

    Raises
    ------
    OptionError
        If there is no such format, revision or split.
    PilarnetError
        If `out` exists and is not replaced, or there are no particles.
    MissingDependencyError
        If the package that writes the format is not installed.
    """
    for field, found, known in (
        ("--format", [format], tuple(FORMATS)),
        ("--revision", [revision], REVISIONS),
        ("--split", splits, SPLITS),
    ):
        if unknown := set(found) - set(known):
            raise OptionError(
                "unusable value",
                field=field,
                expected="one of " + ", ".join(known),
                found=", ".join(sorted(unknown)),
            )
    module, package = FORMATS[format]
    if find_spec(package) is None:
        raise MissingDependencyError(
            f"{format} is written by {package}, which is not installed",
            field="--format",
            advice=how_to_install("formats"),
        )
    if not isinstance(shards, Shards):
        shards = open_shards(shards)
    counts = {split: len(shards[split]) for split in splits or SPLITS}
    if not any(counts.values()):
        raise PilarnetError("no particles in " + ", ".join(counts), file=shards)
    write_split = import_module(f"pilarnet_convert.export.{module}").write_split
    if format == "pilarnet-m":
        write_split = partial(write_split, revision=revision)
    out, total = as_path(out), sum(counts.values())
    with folder_written_beside(out, is_ours=_is_export, overwrite=overwrite) as folder:
        with progress_bar(
            total=total, unit="particle", description="exporting", show=show_progress
        ) as bar:
            for split in (split for split, count in counts.items() if count):
                write_split(shards, split, folder, bar.update)
        about = _about(shards, format=format, particles=counts)
        (folder / _ABOUT).write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
    return out


def _is_export(folder: Path) -> bool:
    about = read_json_object(folder / _ABOUT)
    return about.get("format") in tuple(FORMATS) and "shards" in about


def _about(shards: Shards, *, format: str, particles: dict[str, int]) -> dict[str, Any]:
    """Describe what was exported, and from which shards."""
    kept = ("classes", "geometry", "sources", "options", "checksum")
    return {
        "format": format,
        "created_by": f"pilarnet-clr {__version__}",
        "particles": particles,
        "shards": {name: shards.attributes[name] for name in kept},
    }
