"""The inputs of a conversion as a whole.

======== ============================================================
indexing indexes all of them, and refuses the same content twice
check    finds what is wrong with each, without converting
======== ============================================================
"""
