"""Fill in what pages of the documentation show from elsewhere.

``{{ help:NAME }}`` stands for the help text of a command, ``{{ notebook:NAME }}`` for a notebook
beside the page, with its outputs. Figures of plotly in it turn, by the script of the installed
plotly, which is written beside the page: the site loads nothing from elsewhere.
"""

from __future__ import annotations

import json
import re
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Final

#: Pages of the site that show a file from elsewhere. Links name the file, so that they hold in the
#: repository too.
_SHOWN_ON: Final = {
    "../data/README.md": "format.md",
    "../docker/README.md": "docker.md",
    "../CHANGELOG.md": "changes.md",
    "notebooks/tour.ipynb": "notebooks/tour.md",
}
_PLOTLY: Final = "application/vnd.plotly.v1+json"


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Replace every mark by what it stands for, and links to files that pages of the site show."""
    folder = Path(page.file.abs_src_path).parent
    for file, shown_on in _SHOWN_ON.items():
        markdown = markdown.replace(f"]({file}", f"]({shown_on}")
    markdown = re.sub(
        r"\{\{ notebook:(\S+) \}\}", lambda mark: _notebook(folder / mark[1]), markdown
    )
    return re.sub(r"\{\{ help:(\S+) \}\}", lambda mark: f"```text\n{_help(mark[1])}\n```", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Mark short pieces of code, which the style sheet does not break."""
    return re.sub(r"<code>(?=[^<\n]{1,30}</code>)", '<code class="word">', html)


def on_post_build(config: Any) -> None:
    """Write the script that draws the figures of the notebook."""
    from plotly.offline import get_plotlyjs

    script = Path(config.site_dir, "notebooks", "plotly.min.js")
    script.write_text(get_plotlyjs(), encoding="utf-8")


def _help(name: str) -> str:
    (command,) = entry_points(group="console_scripts", name=name)
    context = command.load().make_context(name, [], resilient_parsing=True, terminal_width=100)
    help_text: str = context.get_help()
    return help_text


def _notebook(path: Path) -> str:
    parts = []
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        parts.append(f"```python\n{source}\n```" if cell["cell_type"] == "code" else source)
        parts += [_output(output) for output in cell.get("outputs", [])]
    return "\n\n".join(parts)


def _output(output: dict[str, Any]) -> str:
    """Give the best of the forms in which a notebook keeps an output."""
    bundle = output.get("data", {})
    if _PLOTLY in bundle:
        from plotly.io import from_json, to_html

        figure = from_json(json.dumps(bundle[_PLOTLY]))
        figure.layout.width = None  # that of the page
        return str(to_html(figure, full_html=False, include_plotlyjs="directory"))
    data = {kind: "".join(value) for kind, value in bundle.items()}
    if "image/png" in data:
        pixels = data["image/png"].replace("\n", "")
        return f'<img alt="Output of the cell" src="data:image/png;base64,{pixels}">'
    if "text/html" in data:
        return re.sub(r"<table[^>]*>", "<table>", data["text/html"])
    text = data.get("text/plain") or "".join(output["text"])
    return f"```text\n{text.rstrip()}\n```"
