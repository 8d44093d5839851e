"""LArCV3, which the Python package index calls larcv."""

from . import queueloader as queueloader
