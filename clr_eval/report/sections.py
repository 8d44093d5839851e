"""A report as sections, written as Markdown and as one page of HTML that needs nothing else."""

from __future__ import annotations

import base64
import html
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from pilarnet_convert.files import replace_file
from pilarnet_convert.pages import lay_out_page

__all__ = ["Section", "as_html", "as_percent", "as_rate", "write_report"]


@dataclass(frozen=True, kw_only=True)
class Section:
    """A part of a report.

    Attributes
    ----------
    title, text : str
        Its heading, and a paragraph.
    head, rows : sequence of str, sequence of sequences of str
        A table; the first column is text, the others are numbers, or text too without a head.
    figure : str, optional
        The name of a picture, without ``.png``.
    level : int
        Of the heading: 2, or 3 for a part of the section before.
    """

    title: str
    text: str
    head: Sequence[str] = ()
    rows: Sequence[Sequence[str]] = ()
    figure: str | None = None
    level: int = 2


def as_percent(metric: Mapping[str, Any], *, digits: int = 1) -> str:
    """Write the value of a metric of `clr_eval.metrics` in per cent, without the sign."""
    return "-" if metric["value"] is None else f"{100 * metric['value']:.{digits}f}"


def as_rate(metric: Mapping[str, Any]) -> str:
    """Write a metric in per cent, with its spread over the seeds and its interval if known."""
    text = as_percent(metric)
    if metric["spread"] is not None:
        text += f" ± {100 * metric['spread']:.1f}"
    if metric["low"] is not None:
        text += f" ({100 * metric['low']:.1f} to {100 * metric['high']:.1f})"
    return text


def write_report(
    report: Mapping[str, Any],
    sections: Sequence[Section],
    *,
    title: str,
    folder: Path,
    particle_map: Mapping[str, Any] | None = None,
) -> None:
    """Write ``report.json``, ``report.md`` and ``report.html`` into a folder with the pictures.

    `particle_map` is as for `as_html`.
    """
    for name, text in (
        ("report.md", _as_markdown(sections, title=title)),
        ("report.html", as_html(sections, title=title, folder=folder, particle_map=particle_map)),
        ("report.json", f"{json.dumps(report, indent=1)}\n"),
    ):
        replace_file(folder / name, text.encode())


def _as_markdown(sections: Sequence[Section], *, title: str) -> str:
    """Write sections as Markdown, with the pictures beside it."""
    parts = [f"# {title}"]
    for section in sections:
        parts += [f"{'#' * section.level} {section.title}", section.text]
        if section.rows:
            numbers = "---:" if any(section.head) else "---"
            ruler = ["---", *(numbers for _ in section.head[1:])]
            lines = [section.head, ruler, *section.rows]
            cells = ([cell.replace("|", r"\|") for cell in line] for line in lines)
            parts.append("\n".join(f"| {' | '.join(line)} |" for line in cells))
        if section.figure:
            parts.append(f"![{section.title}]({section.figure}.png)")
    return "\n\n".join(part for part in parts if part) + "\n"


def as_html(
    sections: Sequence[Section],
    *,
    title: str,
    folder: Path,
    particle_map: Mapping[str, Any] | None = None,
) -> str:
    """Write sections as a page with the pictures of `folder` in it.

    Parameters
    ----------
    particle_map : mapping, optional
        An interactive map, after the picture ``map``: ``x`` and ``y``, ``class`` (an index) and
        ``facts`` (a text) of each particle; ``names`` and ``colours`` of the classes.
    """
    template = files("clr_eval") / "report" / "template"
    parts = ["<main>"]
    for section in sections:
        tag = f"h{section.level}"
        parts.append(f"<{tag}>{html.escape(section.title)}</{tag}>")
        if section.text:
            parts.append(f"<p>{html.escape(section.text)}</p>")
        if section.rows:
            parts.append(_table(section))
        if section.figure == "map" and particle_map is not None:
            parts.append((template / "map.html").read_text("utf-8"))
        elif section.figure:
            picture = base64.b64encode((folder / f"{section.figure}.png").read_bytes()).decode()
            parts.append(
                f'<div class="wide"><img src="data:image/png;base64,{picture}" '
                f'alt="{html.escape(section.title)}"></div>'
            )
    return lay_out_page(
        "\n".join([*parts, "</main>"]),
        title=title,
        css=(template / "page.css").read_text("utf-8"),
        js=(template / "map.js").read_text("utf-8"),
        data=particle_map,
    )


def _table(section: Section) -> str:
    lines = [_row(row, "td") for row in section.rows]
    if not any(section.head):  # names and facts, all of it text
        return f'<table class="facts">{"".join(lines)}</table>'
    return f'<div class="wide"><table>{_row(section.head, "th")}{"".join(lines)}</table></div>'


def _row(cells: Sequence[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"
