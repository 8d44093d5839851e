"""The report: `figures` draws, `text` and `sections` write, `report` puts everything together."""
