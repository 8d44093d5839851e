"""The report: results, pictures, text."""
