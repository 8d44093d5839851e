"""LArCV3, which the Python package index calls larcv."""

from . import dataformat as dataformat
