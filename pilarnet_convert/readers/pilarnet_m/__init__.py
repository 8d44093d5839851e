"""PILArNet-M, as HDF5 or parquet.

====== ===============================================================
source the revision of a file; reading ranges of its events
tables the ragged columns of an HDF5 or a parquet file
decode from blocks of these columns to events, for both kinds of files
====== ===============================================================

The layout is that of the documentation of PoLAr-MAE (``DATASET.md``) and of the decoder of pimm
(``datasets/pilarnet/decode.py``).
"""
