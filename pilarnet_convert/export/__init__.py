"""Single particles in the formats of others.

========== =====================================================================
exporting  an export as a whole: its folder and what it says of itself
pilarnet_m HDF5 in the layout of PILArNet-M, a row an event
parquet    a row a particle, voxels as lists
npz        one file a particle
cli        the command pilarnet-export
========== =====================================================================
"""
