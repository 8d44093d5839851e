"""Single particles in other formats.

========== =====================================================================
exporting  an export as a whole: its folder, and the file that describes it
pilarnet_m HDF5 in the layout of PILArNet-M, one row per event
parquet    one row per particle, voxels as lists
npz        one file per particle
numbering  the numbers by which shards are named, also of several sets
cli        the command pilarnet-export
========== =====================================================================
"""
