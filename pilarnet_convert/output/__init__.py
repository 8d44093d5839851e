"""Where a conversion writes.

====== =========================================================================
output what is at its path: a finished set of shards, an unfinished one, or neither
folder a folder of a file system
remote an object store, where nothing can be renamed or locked
====== =========================================================================
"""
