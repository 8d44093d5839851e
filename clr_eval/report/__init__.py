"""The report: `figures` draws, `text` and `sections` write, `report` puts all together."""
