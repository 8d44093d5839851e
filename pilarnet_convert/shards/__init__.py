"""Sets of shards on disk.

========== =====================================================================
format     names, arrays, and what the root says of a shard
array      the bytes of one array: encoding, and reading runs of rows
writer     a shard, and the attributes of the root
reader     opening a set, or several (joined)
shard      reading blocks of particles of a shard; fetch, of remote ones all at once
particle   single particles by index, as a plotly figure in a notebook (figure); all of them as
           pandas (frames) and Awkward Array (records)
verify     reads every byte again and lists what is wrong with a set
statistics what is in a set; tables and class_plot show it
========== =====================================================================
"""
