"""Fill in ``{{ help:NAME }}`` on the pages of the documentation: the help text of a command."""

from __future__ import annotations

import re
from importlib.metadata import entry_points
from typing import Any


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Replace every mark by what the command prints for ``--help``."""
    return re.sub(r"\{\{ help:(\S+) \}\}", lambda mark: f"```text\n{_help(mark[1])}\n```", markdown)


def _help(name: str) -> str:
    (command,) = entry_points(group="console_scripts", name=name)
    context = command.load().make_context(name, [], resilient_parsing=True, max_content_width=88)
    help_text: str = context.get_help()
    return help_text
