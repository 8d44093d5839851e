"""The command ``pilarnet-view``."""

from __future__ import annotations

import re
import sys
import webbrowser
from dataclasses import fields
from pathlib import Path
from typing import Any, Final

import click
from click.core import ParameterSource

from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType, make_flags
from pilarnet_convert.options import OptionError, check_folder
from pilarnet_convert.pictures import check_picture, is_picture
from pilarnet_convert.storage.remote import AnyPath, RemotePath, as_any_path, as_path
from pilarnet_view.augmented import views_scene
from pilarnet_view.camera import Camera
from pilarnet_view.colours import COLOURINGS
from pilarnet_view.event import event_scene
from pilarnet_view.page import write_page
from pilarnet_view.particles import Choice, particle_scene
from pilarnet_view.picture import write_picture
from pilarnet_view.scene import Scene
from pilarnet_view.thinning import thin

__all__ = ["view_command"]

_OF_EVENTS: Final = ("entries",)
_OF_DRAWS: Final = ("label", "count")
_OF_VIEWS: Final = ("num_views", "epoch", "augmentations", "num_augmentations")
_OF_SHARDS: Final = (*_OF_DRAWS, "split", "seed", "index", "views", *_OF_VIEWS)


@click.command(
    "pilarnet-view",
    cls=Command,
    params=make_flags(Choice),
    epilog="""\b
Examples:
  pilarnet-view dlprod_512px_00.root --open
  pilarnet-view dlprod_512px_00.root --entry 100:200 --out hundred.html
  pilarnet-view dlprod_512px_00.root --entry 3 --camera zy --png event.png
  pilarnet-view shards/ --label muon --count 12
  pilarnet-view shards/ --label electron --views --png views.png
""",
)
@click.argument("path", type=PathType(as_any_path))
@click.option(
    "--entry",
    "entries",
    default="0:10",
    metavar="N or N:M",
    help="Of a file: the event to show, counted from 0, or the events N to M, without M; a page "
    "has a button for the next, a picture shows the first.",
)
@click.option(
    "--views",
    is_flag=True,
    help="Of shards: show each particle beside its augmented views, as training makes them.",
)
@click.option(
    "--colour",
    "--color",
    "colouring",
    type=click.Choice(COLOURINGS),
    show_default="class for events, energy for particles",
    help="How voxels are coloured (in a page: initially).",
)
@click.option(
    "--axes",
    type=click.Choice(["cm", "voxels"]),
    show_default="cm, where the size of a voxel is known",
    help="The unit of the axes (in a page: initially).",
)
@click.option(
    "--camera",
    default="3d",
    metavar="NAME or A,E",
    help="Where to look from (in a page: initially): 3d, a projection (zy, zx, xy), or azimuth and "
    "elevation in degrees, such as -60,25; a page displays its current azimuth and elevation.",
)
@click.option("--cube", is_flag=True, help="Show the whole cube, not just the part with voxels.")
@click.option(
    "--max-voxels",
    type=click.IntRange(min=1),
    metavar="INTEGER",
    default=100_000,
    help="Show at most this many voxels of an event or particle, drawn at random.",
)
@click.option(
    "--out",
    type=PathType(),
    metavar="FILE",
    show_default="a name made from what is shown, in this folder",
    help="The page to write (.html), or a picture as with --png.",
)
@click.option(
    "--png",
    "picture",
    type=PathType(),
    metavar="FILE",
    help="Draw a picture for a paper (.png, .pdf, .svg); a page too if --out is given.",
)
@click.option(
    "--open", "opened", is_flag=True, help="Open the page, or the picture, when it is made."
)
@click.pass_context
def view_command(
    context: click.Context,
    /,
    path: AnyPath,
    out: Path | None,
    picture: Path | None,
    **options: Any,
) -> None:
    """Show events of a file, or particles of shards, as a page that needs no network.

    PATH is a file that pilarnet-convert reads or a folder of shards, or the URL of one. In the
    page the arrow keys go to the previous and the next event, the legend switches classes off and
    on, and pointing at a voxel shows what it belongs to. From a particle of shards a button leads
    to its event.
    """
    if out is not None and is_picture(out):
        if picture is not None:
            raise OptionError(
                "both --out and --png name a picture", field="--out", advice="leave out one of them"
            )
        out, picture = None, out
    if picture is not None:
        picture = check_picture(picture, option="--png")
    if out is not None:
        out = _check_page(out)
    look = {name: options[name] for name in ("colouring", "axes", "cube")}
    look["camera"] = Camera.parse(options["camera"])
    scene, name = _scene(context, path, options)
    scene = thin(scene, max_voxels=options["max_voxels"])
    made = []
    if picture is not None:
        write_picture(scene, picture, **look)
        made.append(picture)
    if out is not None or picture is None:
        made.append(out or Path(f"{name}.html"))
        write_page(scene, made[-1], **look)
    for target in made:
        click.echo(f"wrote {target}: {scene.title}, {scene.subtitle}")
    if options["opened"] and not webbrowser.open(made[-1].resolve().as_uri()):
        click.echo(f"no browser was found: open {made[-1]} yourself", err=True)


def _check_page(path: Path) -> Path:
    """Check, before any work, that a page can be written."""
    path = as_path(path)
    if path.suffix.lower() not in (".html", ".htm"):
        raise OptionError(
            "not a page or a picture",
            file=path,
            field="--out",
            expected=".html, .png, .pdf or .svg",
            found=path.suffix or "no ending",
        )
    check_folder(path, option="--out")
    return path


def _scene(context: click.Context, path: AnyPath, options: dict[str, Any]) -> tuple[Scene, str]:
    """Make the scene, and a name for its file."""
    if path.suffix == ".root" if isinstance(path, RemotePath) else not path.is_dir():
        if isinstance(path, RemotePath) or path.exists():
            _refuse(context, _OF_SHARDS, "PATH is a file, and this option is for shards")
        entries = _read_entries(options["entries"])
        name = f"{path.stem}-entry{entries.start}"
        if entries.stop != entries.start + 1:
            name += "-on"
        return event_scene(path, entry=entries), name
    _refuse(context, _OF_EVENTS, "PATH is a folder of shards, and this option is for event files")
    if options["index"]:
        _refuse(context, _OF_DRAWS, "with --index, no particles are drawn at random")
    if not options["views"]:
        _refuse(context, _OF_VIEWS, "this option needs --views")
    choice = Choice(**{field.name: options[field.name] for field in fields(Choice)})
    words = [path.resolve().name, choice.split, choice.label, *map(str, choice.index)]
    if not options["views"]:
        return particle_scene(path, choice=choice), "-".join(filter(None, words))
    return views_scene(path, choice=choice), "-".join(filter(None, [*words, "views"]))


def _read_entries(text: str) -> range:
    """Read the value of ``--entry``: ``"3"``, ``"10:20"`` or ``"10:"``."""
    start, colon, stop = text.partition(":")
    # No more digits, as int() refuses numbers of thousands of them.
    if not re.fullmatch(r"-?\d{1,99}", start) or not re.fullmatch(r"\d{0,99}", stop):
        raise OptionError(
            "not an event", field="--entry", expected="such as 3 or 10:20", found=text
        )
    if not colon:
        return range(int(start), int(start) + 1)
    return range(int(start), int(stop) if stop else sys.maxsize)


def _refuse(context: click.Context, names: tuple[str, ...], why: str) -> None:
    """Refuse options that would have no effect."""
    for parameter in context.command.params:
        source = context.get_parameter_source(parameter.name or "")
        if parameter.name in names and source is ParameterSource.COMMANDLINE:
            raise OptionError(why, field=parameter.opts[0], advice="leave it out")
