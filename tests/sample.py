"""Where the LArCV files of the project lie: small, and written by LArCV2 itself."""

from __future__ import annotations

from pathlib import Path

_PROJECT = Path(__file__).parents[1]

#: The bundled sample of Geant4 events: 352 events, 192 pixels.
GEANT4 = _PROJECT / "data" / "sample" / "g4_192px_sample.root"
#: A bundled file of toy events: 20 events, 192 pixels, the schema of 2018.
SAMPLE = _PROJECT / "data" / "sample" / "dlprod_192px_00.root"
#: 20 events of a later LArCV2, whose particles have more fields.
MODERN = _PROJECT / "tests" / "data" / "modern_192px_00.root"
#: 24 events with kaons, neutrons, nuclei, and one that left nothing.
QUIRKS = _PROJECT / "tests" / "data" / "quirks_192px_00.root"
