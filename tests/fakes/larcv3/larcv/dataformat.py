"""The products of LArCV3."""
