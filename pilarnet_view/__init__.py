"""Show events, particles and views of them: interactive pages, and pictures for papers.

Imports run one way::

    colours -> scene -> event, particles -> augmented -> thinning, page, picture -> cli

========= ======================================================================
colours   colours that colour-blind readers can tell apart
scene     what is shown, as numbers: particle clouds in panels
event     a scene of one event of a LArCV file
particles a scene of single particles from shards
augmented a scene of particles beside their views (needs torch)
thinning  leaving out voxels of a scene that has too many
page      a scene as one HTML file (needs plotly)
picture   a scene as a picture (needs matplotlib)
cli       the command pilarnet-view
========= ======================================================================

In a notebook::

    from pathlib import Path
    from pilarnet_view import event_scene, write_page

    write_page(event_scene("dlprod_512px_00.root", entry=3), Path("event.html"))
"""

from __future__ import annotations

from pilarnet_view.event import event_scene
from pilarnet_view.page import write_page
from pilarnet_view.particles import particle_scene
from pilarnet_view.picture import write_picture

__all__ = ["event_scene", "particle_scene", "write_page", "write_picture"]
