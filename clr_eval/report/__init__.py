"""The report: `figures`, `text` and `sections` make it, `folder` locks, `report` is the whole."""
