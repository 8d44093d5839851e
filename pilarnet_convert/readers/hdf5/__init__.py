"""HDF5: ``file`` opens and reads it through h5py, ``larcv3`` reads LArCV3's files."""
