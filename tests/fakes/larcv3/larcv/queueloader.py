"""The queues from which LArCV3 serves batches of HDF5 data."""
