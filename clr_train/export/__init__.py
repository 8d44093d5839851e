"""A pretrained encoder by itself: its files, and features of a user's own arrays.

========== =====================================================================
encoder    the network with all that it needs to compute features
arrays     features of a user's own arrays
files      the folder of an exported encoder: writing and loading
card       its model card
cli        the command clr-export
========== =====================================================================
"""
