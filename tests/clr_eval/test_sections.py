"""Pages of reports and studies."""

from __future__ import annotations

import html
import json
from pathlib import Path

from clr_eval.report.sections import Section, as_html, write_report


def test_no_text_becomes_markup(tmp_path: Path):
    """Paths, names of domains, facts of particles: what files say is shown as it is."""
    bad = "<script>alert(1)</script><img src=x onerror='alert(2)'>&"
    (tmp_path / "map.png").write_bytes(b"")
    section = Section(title=bad, text=bad, head=[bad, bad], rows=[[bad, bad]], figure="map")
    facts = Section(title=bad, text=bad, head=["", ""], rows=[[bad, bad]])
    drawn = {"x": [0], "y": [0], "class": [0], "facts": [bad], "names": [bad], "colours": [bad]}
    for particle_map in (None, drawn):
        page = as_html([section, facts], title=bad, folder=tmp_path, particle_map=particle_map)
        assert "alert(1)</script>" not in page
        assert "<img src=x" not in page
        body = page[page.index("<body>") : page.index('<script type="application/json"')]
        assert body.count(html.escape(bad)) == (11 if particle_map else 12)
        data = page[page.index('id="data">') + len('id="data">') :]
        assert json.loads(data[: data.index("</script>")]) == particle_map


def test_no_text_becomes_a_cell_of_markdown(tmp_path: Path):
    section = Section(title="a | b", text="a | b", head=["a | b", ""], rows=[["a | b", "1"]])
    write_report({}, [section], title="t", folder=tmp_path)
    table = [line for line in (tmp_path / "report.md").read_text().splitlines() if line[:1] == "|"]
    assert table == [r"| a \| b |  |", "| --- | ---: |", r"| a \| b | 1 |"]
