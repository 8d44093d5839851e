"""Pictures: the only module that imports matplotlib, which is optional.

A figure is made by `new_figure`, drawn on by its own methods, and written by `save_figure`. The
other functions wrap what needs objects of matplotlib, such as scales and colour maps.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray

from pilarnet_convert.errors import MissingDependencyError, how_to_install
from pilarnet_convert.files import written_beside
from pilarnet_convert.options import OptionError, check_folder
from pilarnet_convert.storage.remote import as_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes as Axes
    from matplotlib.colors import Colormap, LogNorm
    from matplotlib.figure import Figure as Figure

__all__ = [
    "ENERGY_COLOURS",
    "VIRIDIS",
    "Axes",
    "Figure",
    "as_pixels",
    "check_picture",
    "colour_map",
    "draw_colour_bar",
    "energy_range",
    "hide_frames",
    "is_picture",
    "log_norm",
    "new_figure",
    "require_matplotlib",
    "save_figure",
    "set_log_ticks",
]

#: Viridis (S. van der Walt and N. Smith, SciPy 2015).
VIRIDIS: Final = (
    *("#440154", "#482878", "#3e4989", "#31688e", "#26828e"),
    *("#1f9e89", "#35b779", "#6ece58", "#b5de2b", "#fde725"),
)
#: Colours from low to high energy on white, which would hide the end of viridis.
ENERGY_COLOURS: Final = VIRIDIS[:9]

_DPI: Final = 150
#: The width of a digit below a small axis, as a share of the length of the axis.
_LETTER: Final = 0.025
_ENDINGS: Final = (".png", ".pdf", ".svg")


def require_matplotlib(extra: str = "plot") -> None:
    """Check that matplotlib is installed; if not, a `MissingDependencyError` names the extra."""
    try:
        import matplotlib.figure  # noqa: F401
    except ImportError as error:
        raise MissingDependencyError(
            "pictures are drawn by matplotlib, which is not installed",
            advice=how_to_install(extra),
        ) from error


def energy_range(energy_mev: NDArray[np.floating[Any]]) -> tuple[float, float]:
    """Find the energies at the ends of a colour scale, in MeV, with ``0 < low < high``.

    They are the 2nd percentile of the energies above 0, and the largest energy.
    """
    positive = energy_mev[energy_mev > 0]
    if not len(positive):
        return 0.1, 1.0
    high = float(positive.max())
    return min(float(np.percentile(positive, 2)), high / 2), high


def new_figure(
    width_inch: float, height_inch: float, *, layout: Any = "constrained", dpi: float | None = None
) -> Figure:
    """Make an empty figure; `MissingDependencyError` if matplotlib is not installed."""
    require_matplotlib()
    from matplotlib.figure import Figure

    return Figure(figsize=(width_inch, height_inch), layout=layout, dpi=dpi or _DPI)


def is_picture(path: Path) -> bool:
    """Return whether the ending of a file is that of a picture."""
    return path.suffix.lower() in _ENDINGS


def check_picture(path: str | Path, *, option: str) -> Path:
    """Check, before any work, that a picture can be written.

    Raises
    ------
    MissingDependencyError
        If matplotlib is not installed.
    OptionError
        If the path, which `option` gave, does not end in ``.png``, ``.pdf`` or ``.svg``, or its
        folder does not exist.
    """
    require_matplotlib()
    path = as_path(path)
    if not is_picture(path):
        raise OptionError(
            "not a kind of picture",
            file=path,
            field=option,
            expected=", ".join(_ENDINGS),
            found=path.suffix or "no ending",
        )
    check_folder(path, option=option)
    return path


def save_figure(figure: Figure, path: str | Path, *, option: str) -> None:
    """Write a figure to a file, which appears whole or not at all; see `check_picture`.

    A ``$`` in a text, as in the name of a file, does not begin a formula. A text that is not UTF-8
    is a `UnicodeEncodeError`.
    """
    from matplotlib.text import Text

    path = check_picture(path, option=option)
    for text in figure.findobj(Text):
        text.get_text().encode()
        if "$" in text.get_text():  # not yet in matplotlib's own numbers at ticks
            text.set_parse_math(False)
    with written_beside(path) as stream:
        figure.savefig(stream, format=path.suffix.lower().removeprefix("."))


def as_pixels(figure: Figure) -> NDArray[np.uint8]:
    """Draw a figure to pixels, uint8 [height, width, 3]."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()  # type: ignore[no-untyped-call]
    pixels = np.asarray(canvas.buffer_rgba(), np.uint8)  # type: ignore[no-untyped-call]
    return pixels[..., :3].copy()


def hide_frames(figure: Figure) -> None:
    """Hide the upper and the right edge of all axes."""
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)


def log_norm(low: float, high: float) -> LogNorm:
    """Make a logarithmic scale of colours; values beyond its ends get the colours of the ends."""
    from matplotlib.colors import LogNorm

    return LogNorm(low, high, clip=True)


def set_log_ticks(axes: Axes) -> None:
    """Make the x axis logarithmic, with as many ticks as there is room for their numbers."""
    from matplotlib.ticker import MaxNLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    decades = np.arange(np.floor(np.log10(low)), np.ceil(np.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = np.sort(np.outer(10.0**decades, steps).ravel())
        ticks = ticks[(ticks >= low) & (ticks <= high)]
        names = [f"{tick:,.6g}" for tick in ticks]
        lengths = np.array([len(name) for name in names])
        gaps = np.diff(np.log10(ticks)) / np.log10(high / low)
        if np.all(gaps > _LETTER * ((lengths[1:] + lengths[:-1]) / 2 + 1)):
            break
    if len(ticks) < 2:  # less than from one round number to the next
        places = np.asarray(MaxNLocator(2).tick_values(low, high))
        ticks = places[(places >= low) & (places <= high)]
        names = [f"{tick:,.8g}" for tick in ticks]
    axes.set_xticks(ticks, names)
    axes.minorticks_off()


def colour_map(colours: Sequence[str]) -> Colormap:
    """Make a colour map that runs through some colours."""
    from matplotlib.colors import LinearSegmentedColormap

    return LinearSegmentedColormap.from_list("", list(colours))


def draw_colour_bar(
    figure: Figure,
    box: tuple[float, float, float, float],
    *,
    limits: tuple[float, float],
    colours: Sequence[str],
    label: str,
) -> None:
    """Draw a horizontal, logarithmic colour bar with a few ticks and a label below.

    Parameters
    ----------
    box : tuple of four float
        Left, bottom, width and height, as shares of the figure.
    limits : tuple of two float
        The values at its ends.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.ticker import LogLocator

    subs = (1, 2, 5) if limits[1] / limits[0] < 300 else (1,)
    bar = figure.colorbar(
        ScalarMappable(log_norm(*limits), colour_map(colours)),
        cax=figure.add_axes(box),
        orientation="horizontal",
        ticks=LogLocator(subs=subs),
        format="%g",
    )
    bar.ax.minorticks_off()
    bar.ax.tick_params(labelsize=8)
    bar.set_label(label, fontsize=9, labelpad=3)
