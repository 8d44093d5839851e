"""Readers: from files of the field to the columns of events."""
