"""Show events, particles and views of them: interactive pages, and pictures for papers.

Imports run one way::

    colours, camera -> scene -> relations -> event, particles -> augmented
        -> thinning, page, projection -> drawing -> picture -> cli

========== =====================================================================
colours    colours that colour-blind readers can tell apart
camera     where a scene is looked at from
scene      what is shown, as numbers: particle clouds in panels
relations  vertices, and links from parents
event      a scene of events of a file
particles  a scene of single particles from shards, with their events
augmented  a scene of particles beside their views (needs torch)
thinning   leaving out voxels of a scene that has too many
page       a scene as one HTML file
projection where voxels fall on a picture
drawing    one set of axes of a picture
picture    a scene as a picture (needs matplotlib)
cli        the command pilarnet-view
========== =====================================================================

In a notebook::

    from pilarnet_view import event_scene, write_page

    write_page(event_scene("dlprod_512px_00.root", entry=3), "event.html")
"""

from __future__ import annotations

from pilarnet_view.augmented import views_scene
from pilarnet_view.camera import Camera
from pilarnet_view.event import event_scene
from pilarnet_view.page import write_page
from pilarnet_view.particles import Choice, particle_scene
from pilarnet_view.picture import write_picture

__all__ = [
    "Camera",
    "Choice",
    "event_scene",
    "particle_scene",
    "views_scene",
    "write_page",
    "write_picture",
]
