"""A scene as one HTML file that holds plotly.js and the data, and needs no network."""

from __future__ import annotations

import base64
import html
import json
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np

from pilarnet_convert.errors import MissingDependencyError, how_to_install
from pilarnet_convert.files import replace_file
from pilarnet_convert.storage.remote import as_path
from pilarnet_view.colours import PARTICLE_COLOURS, SCALES, SPECIES_COLOURS, SYMBOLS
from pilarnet_view.scene import Panel, ParticleCloud, Scene, energy_range

__all__ = ["document", "page", "write_page"]


def write_page(
    scene: Scene, path: str | Path, *, colouring: str | None = None, axes: str | None = None
) -> None:
    """Write a scene as a page; see `page`."""
    text = page(scene, colouring=colouring, axes=axes)
    replace_file(as_path(path), text.encode())


def page(scene: Scene, *, colouring: str | None = None, axes: str | None = None) -> str:
    """Lay out a scene as a page, in HTML that is the same for the same scene.

    Parameters
    ----------
    colouring : str, optional
        How it is coloured at first; one of `COLOURINGS`, that of the scene by default.
    axes : {"cm", "voxels"}, optional
        The unit of the axes at first; cm by default, where the scene has it.

    Raises
    ------
    MissingDependencyError
        If plotly is not installed.
    PilarnetError
        If there is no such colouring, or no cm.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise MissingDependencyError(
            "pages are drawn by plotly, which is not installed",
            advice=how_to_install("view"),
        ) from error
    template = files("pilarnet_view") / "template"
    parts = {name: (template / f"page.{name}").read_text("utf-8") for name in ("css", "js")}
    data = json.dumps(document(scene, colouring=colouring, axes=axes), separators=(",", ":"))
    return Template((template / "page.html").read_text("utf-8")).substitute(
        title=html.escape(scene.title),
        css=parts["css"],
        plotly=get_plotlyjs(),
        # No text of a file may end the element that holds the data.
        data=data.replace("<", "\\u003c"),
        js=parts["js"],
    )


def document(scene: Scene, *, colouring: str | None, axes: str | None) -> dict[str, Any]:
    """Give all data of the page, as JSON values."""
    colouring, unit = scene.choose(colouring=colouring, axes=axes)
    return {
        "title": scene.title,
        "subtitle": scene.subtitle,
        "notes": scene.notes,
        "colouring": colouring,
        "axes": unit,
        "columns": scene.columns,
        "voxel_cm": scene.voxel_cm,
        "energy_mev": energy_range(scene.clouds),
        "species": dict(SPECIES_COLOURS),
        "palette": dict(PARTICLE_COLOURS),
        "scale": dict(SCALES),
        "symbols": [symbol for symbol, _ in SYMBOLS],
        "panels": [_panel(panel) for panel in scene.panels],
        "picks": [
            {"name": pick.name, "panels": pick.panels, "cloud": pick.cloud} for pick in scene.picks
        ],
    }


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "caption": panel.caption,
        "low": panel.low.tolist(),
        "high": panel.high.tolist(),
        "origin_cm": panel.origin_cm.tolist(),
        "clouds": [_cloud(cloud) for cloud in panel.clouds],
    }


def _cloud(cloud: ParticleCloud) -> dict[str, Any]:
    return {
        "name": cloud.name,
        "species": cloud.species,
        "number": cloud.number,
        "facts": cloud.facts,
        "xyz": _base64(cloud.xyz.T.astype("<i4")),
        "energy_mev": _base64(cloud.energy_mev.astype("<f4")),
    }


def _base64(values: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
