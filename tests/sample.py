"""Where the bundled LArCV file lies: 20 events, 192 pixels, of the schema of 2018."""

from __future__ import annotations

from pathlib import Path

SAMPLE = Path(__file__).parent / "data" / "dlprod_192px_00.root"
