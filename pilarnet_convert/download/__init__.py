"""Getting the public data sets.

========== =====================================================================
datasets   the public data sets: their names, and where they are
web        requests, and whether their failures are temporary
catalogue  the files of a data set, as its archive lists them
transfer   fetching files: resumed, several at a time, checked
cli        the command pilarnet-download
========== =====================================================================
"""
