"""Pages: HTML files that need nothing else, light and dark, with one frame for all."""

from __future__ import annotations

import html
import json
from importlib.resources import files
from string import Template
from typing import Any

__all__ = ["lay_out_page"]


def lay_out_page(body: str, *, title: str, subtitle: str = "", css: str, js: str, data: Any) -> str:
    """Put a page into the frame that all pages have: its head, its title and its theme.

    The page fetches nothing, and its content security policy forbids it.

    Parameters
    ----------
    body : str
        HTML; text from files must already be escaped.
    title, subtitle : str
        Plain text, which is escaped here.
    css, js : str
        The style and the script of the page, which follow those of the frame. The document fires
        ``themechange`` when the theme changes.
    data : object
        What the script finds as JSON in the element ``data``.
    """
    folder = files("pilarnet_convert.pages")
    frame = {name: (folder / f"frame.{name}").read_text("utf-8") for name in ("html", "css", "js")}
    return Template(frame["html"]).substitute(
        title=html.escape(title),
        subtitle=html.escape(subtitle),
        css=frame["css"] + css,
        frame=frame["js"],
        body=body,
        # No text from a file may end the element that holds the data.
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        js=js,
    )
