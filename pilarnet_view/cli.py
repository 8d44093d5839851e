"""The command ``pilarnet-view``."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from pilarnet_convert.console import Command
from pilarnet_convert.errors import PilarnetError
from pilarnet_convert.shards.format import SPLITS
from pilarnet_convert.species import CLASS_NAMES
from pilarnet_view.augmented import views_scene
from pilarnet_view.colours import COLOURINGS
from pilarnet_view.event import event_scene
from pilarnet_view.page import write_page
from pilarnet_view.particles import Choice, particle_scene
from pilarnet_view.picture import write_picture
from pilarnet_view.scene import Scene, thin

__all__ = ["view_command"]

_OF_EVENTS: Final = ("entry",)
_OF_DRAWS: Final = ("label", "count")
_OF_VIEWS: Final = ("num_views", "epoch", "augmentations", "num_augmentations")
_OF_SHARDS: Final = (*_OF_DRAWS, "split", "seed", "indices", "views", *_OF_VIEWS)


@click.command(
    "pilarnet-view",
    cls=Command,
    epilog="""\b
Examples:
  pilarnet-view dlprod_512px_00.root --entry 3
  pilarnet-view shards/ --label muon --count 12
  pilarnet-view shards/ --label electron --views --png views.png
""",
)
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--entry", default=0, help="Of a LArCV file: the event to show, counted from 0.")
@click.option(
    "--label",
    type=click.Choice(CLASS_NAMES),
    help="Of shards: draw particles of this class only.",
)
@click.option(
    "--count",
    type=click.IntRange(min=1),
    show_default="12, with --views 1",
    help="Of shards: how many particles to draw.",
)
@click.option(
    "--split", type=click.Choice(SPLITS), default="train", help="Of shards: the split to draw from."
)
@click.option(
    "--seed",
    type=click.IntRange(min=0),
    default=0,
    help="Of shards: the seed of the draw of particles and of their views.",
)
@click.option(
    "--index",
    "indices",
    type=int,
    multiple=True,
    help="Of shards: show the particle of this index in the split instead of drawing; may be "
    "repeated.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Of shards: show each particle beside its augmented views, as training makes them.",
)
@click.option(
    "--num-views",
    type=click.IntRange(min=1),
    default=2,
    help="With --views: how many views of each particle.",
)
@click.option(
    "--epoch",
    type=click.IntRange(min=0),
    default=0,
    help="With --views: the epoch. With the seed and particle index of a training run, the views "
    "are those that the network saw.",
)
@click.option(
    "--augmentations",
    metavar="NAME,NAME,...",
    show_default="as clr-train",
    help="With --views: the augmentations to draw from.",
)
@click.option(
    "--num-augmentations",
    type=int,
    show_default="as clr-train",
    help="With --views: how many augmentations each view draws.",
)
@click.option(
    "--colour",
    "--color",
    "colouring",
    type=click.Choice(COLOURINGS),
    show_default="class for events, energy for particles",
    help="How voxels are coloured at first.",
)
@click.option("--axes", type=click.Choice(["cm", "voxels"]), help="The unit of the axes at first.")
@click.option(
    "--max-voxels",
    type=click.IntRange(min=1),
    default=60_000,
    help="Show at most so many voxels, drawn at random.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path, dir_okay=False),
    show_default="a name made from what is shown, in this folder",
    help="The page to write.",
)
@click.option(
    "--png",
    "picture",
    type=click.Path(path_type=Path, dir_okay=False),
    help="Draw a picture for a paper (.png, .pdf, .svg); a page too if --out is given.",
)
@click.pass_context
def view_command(
    context: click.Context,
    /,
    path: Path,
    out: Path | None,
    picture: Path | None,
    **options: Any,
) -> None:
    """Show an event of a LArCV file, or particles of shards, as a page that needs no network.

    PATH is a LArCV2 file or a folder of shards. In the page, particles and colouring are chosen,
    and the voxel under the pointer tells what it belongs to.
    """
    scene, name = _scene(context, path, options)
    scene = thin(scene, max_voxels=options["max_voxels"])
    shown = {"colouring": options["colouring"], "axes": options["axes"]}
    if picture is not None:
        write_picture(scene, picture, **shown)
        click.echo(f"{picture}: {scene.title}, {scene.subtitle}")
    if out is not None or picture is None:
        target = out or Path(f"{name}.html")
        write_page(scene, target, **shown)
        click.echo(f"{target}: {scene.title}, {scene.subtitle}")


def _scene(context: click.Context, path: Path, options: dict[str, Any]) -> tuple[Scene, str]:
    """Make the scene, and a name for its file."""
    if not path.is_dir():
        _refuse(context, _OF_SHARDS, "PATH is a file, and this option is for shards")
        entry = options["entry"]
        return event_scene(path, entry=entry), f"{path.stem}-entry{entry}"
    _refuse(context, _OF_EVENTS, "PATH is a folder of shards, and this option is for LArCV files")
    if options["indices"]:
        _refuse(context, _OF_DRAWS, "with --index nothing is drawn")
    if not options["views"]:
        _refuse(context, _OF_VIEWS, "this option needs --views")
    choice = Choice(
        split=options["split"],
        indices=options["indices"],
        label=options["label"],
        count=options["count"] or (1 if options["views"] else 12),
        seed=options["seed"],
    )
    words = [path.resolve().name, choice.split, choice.label, *map(str, choice.indices)]
    if not options["views"]:
        return particle_scene(path, choice=choice), "-".join(filter(None, words))
    names = options["augmentations"]
    scene = views_scene(
        path,
        choice=choice,
        num_views=options["num_views"],
        epoch=options["epoch"],
        augmentations=None if names is None else [n.strip() for n in names.split(",")],
        num_augmentations=options["num_augmentations"],
    )
    return scene, "-".join(filter(None, [*words, "views"]))


def _refuse(context: click.Context, names: tuple[str, ...], why: str) -> None:
    """Refuse options that would have no effect."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise PilarnetError(why, field=parameter.opts[0], advice="leave it out")
