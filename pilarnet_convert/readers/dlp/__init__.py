"""LArCV2 files through dlp_opendata_api, with ROOT and LArCV2 where they are installed.

======== =======================================================================
packages ROOT, LArCV2 and dlp_opendata_api: found, imported, kept from printing
files    LArCV2 files as these packages open them
reader   from these files to events
======== =======================================================================
"""
