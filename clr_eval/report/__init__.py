"""The report: `figures` and `neighbours` draw, `markdown` writes, `report` puts all together."""
