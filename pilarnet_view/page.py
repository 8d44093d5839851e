"""A scene as one HTML file that holds all its data, and needs no network."""

from __future__ import annotations

import base64
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import numpy as np

from pilarnet_convert.files import replace_file
from pilarnet_convert.pages import lay_out_page
from pilarnet_convert.storage.remote import as_path
from pilarnet_view.camera import CAMERAS, Camera
from pilarnet_view.colours import PARTICLE_COLOURS, SCALES, SPECIES_COLOURS, SYMBOLS
from pilarnet_view.scene import Panel, ParticleCloud, Scene

__all__ = ["document", "page", "write_page"]

#: In an order in which each uses only what comes before it.
_SCRIPTS: Final = ("camera", "voxels", "axes", "plot", "page", "pointer", "controls")


def write_page(scene: Scene, path: str | Path, **look: Any) -> None:
    """Write a scene as one HTML file, which holds all its data and needs no network.

    Parameters
    ----------
    scene : Scene
        What the page shows.
    path : path
        The file to write.
    **look
        ``colouring``, ``axes``, ``camera`` and ``cube``, with which the page begins, as for
        `pilarnet_view.write_picture`.

    Raises
    ------
    PilarnetError
        If there is no such colouring, or the scene has no cm.
    """
    replace_file(as_path(path), page(scene, **look).encode())


def page(
    scene: Scene,
    *,
    colouring: str | None = None,
    axes: str | None = None,
    camera: Camera = CAMERAS["3d"],
    cube: bool = False,
) -> str:
    """Lay out a scene as a page, in HTML that is the same for the same scene.

    Parameters
    ----------
    colouring : str, optional
        How voxels are coloured initially; one of `COLOURINGS`, by default that of the scene.
    axes : {"cm", "voxels"}, optional
        The unit of the axes initially; by default cm, where the scene has it.
    camera : Camera
        Where the viewer is initially.
    cube : bool
        Whether the whole cube is shown initially, and not just the part with voxels.

    Returns
    -------
    str

    Raises
    ------
    PilarnetError
        If there is no such colouring, or the scene has no cm.
    """
    template = files("pilarnet_view") / "template"
    scripts = [(template / f"{name}.js").read_text("utf-8") for name in _SCRIPTS]
    return lay_out_page(
        (template / "page.html").read_text("utf-8"),
        title=scene.title,
        subtitle=scene.subtitle,
        css=(template / "page.css").read_text("utf-8"),
        js="\n".join(['"use strict";', "(() => {", *scripts, "})();"]),
        data=document(scene, colouring=colouring, axes=axes, camera=camera, cube=cube),
    )


def document(
    scene: Scene,
    *,
    colouring: str | None,
    axes: str | None,
    camera: Camera = CAMERAS["3d"],
    cube: bool = False,
) -> dict[str, Any]:
    """Return all data of the page, as JSON values."""
    colouring, unit = scene.choose(colouring=colouring, axes=axes)
    return {
        "title": scene.title,
        "notes": scene.notes,
        "colouring": colouring,
        "axes": unit,
        "camera": _camera(camera),
        "cameras": {name: _camera(known) for name, known in CAMERAS.items()},
        "cube": cube,
        "columns": scene.columns,
        "group": scene.group,
        "voxel_cm": scene.voxel_cm,
        "energy_mev": scene.energy_range_mev,
        "species": dict(SPECIES_COLOURS),
        "palette": dict(PARTICLE_COLOURS),
        "scale": dict(SCALES),
        "symbols": [symbol for symbol, _ in SYMBOLS],
        "panels": [_panel(panel) for panel in scene.panels],
    }


def _camera(camera: Camera) -> dict[str, float]:
    return {"azimuth": camera.azimuth, "elevation": camera.elevation}


def _panel(panel: Panel) -> dict[str, Any]:
    return {
        "title": panel.title,
        "caption": panel.caption,
        "low": panel.low.tolist(),
        "high": panel.high.tolist(),
        "grid": panel.grid.tolist(),
        "origin_cm": panel.origin_cm.tolist(),
        "clouds": [_cloud(cloud) for cloud in panel.clouds],
        "vertices": panel.vertices.tolist(),
        "links": panel.links.tolist(),
        "event": panel.event and _panel(panel.event),
        "focus": panel.focus,
    }


def _cloud(cloud: ParticleCloud) -> dict[str, Any]:
    return {
        "name": cloud.name,
        "summary": cloud.summary,
        "species": cloud.species,
        "number": cloud.number,
        "facts": cloud.facts,
        "start": None if cloud.start is None else cloud.start.tolist(),
        "end": None if cloud.end is None else cloud.end.tolist(),
        "xyz": _base64(cloud.xyz.T.astype("<i4")),
        "energy_mev": _base64(cloud.energy_mev.astype("<f4")),
    }


def _base64(values: np.ndarray[Any, Any]) -> str:
    return base64.b64encode(np.ascontiguousarray(values).tobytes()).decode("ascii")
