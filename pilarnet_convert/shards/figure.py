"""A particle as a plotly figure, for a notebook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from pilarnet_convert.errors import MissingDependencyError, how_to_install
from pilarnet_convert.pictures import ENERGY_COLOURS, energy_range

if TYPE_CHECKING:
    from pilarnet_convert.shards.particle import Particle

__all__ = ["particle_figure"]


def particle_figure(particle: Particle) -> Any:
    """Draw the voxels of a particle, coloured by energy on a logarithmic scale.

    Parameters
    ----------
    particle : Particle
        A particle of shards.

    Returns
    -------
    plotly.graph_objects.Figure

    Raises
    ------
    MissingDependencyError
        If plotly is not installed.
    """
    try:
        from plotly import graph_objects
    except ImportError as error:
        raise MissingDependencyError(
            "particles are drawn by plotly, which is not installed",
            advice=how_to_install("view"),
        ) from error
    low, high = energy_range(particle.energy)
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    x, y, z = particle.xyz.T
    voxels = graph_objects.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="markers",
        customdata=particle.energy,
        hovertemplate="%{x}, %{y}, %{z}: %{customdata:.3g} MeV<extra></extra>",
        marker={
            "size": 3,
            "symbol": "square",
            "color": np.log10(np.clip(particle.energy, low, high)),
            "cmin": np.log10(low),
            "cmax": np.log10(high),
            "colorscale": list(ENERGY_COLOURS),
            "colorbar": {
                "title": {"text": "MeV"},
                "tickvals": decades,
                "ticktext": [f"{10.0**decade:g}" for decade in decades],
            },
        },
    )
    axes = {f"{axis}axis": {"title": {"text": f"{axis} [voxel]"}} for axis in "xyz"}
    # As pages and pictures show it: y upwards; far enough for the ticks of a long particle.
    camera = {"up": {"x": 0, "y": 1, "z": 0}, "eye": {"x": 1.5, "y": 0.9, "z": 1.7}}
    return graph_objects.Figure(
        voxels,
        layout={
            "title": {"text": particle.summary},
            "scene": {"aspectmode": "data", "camera": camera, **axes},
            "margin": {"l": 0, "r": 0, "b": 10},
        },
    )
