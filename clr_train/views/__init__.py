"""From batches to augmented views."""
