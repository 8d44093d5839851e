"""The inputs of a conversion as a whole.

===== ===========================================================
look  looks into all of them, and refuses the same content twice
check what is right and wrong with each, without converting
===== ===========================================================
"""
