"""What all commands share.

======== =========================================================================
command  a click command with one-line errors, ``--debug`` and ``--version``
flags    parameters made from a record of options, and paths
progress progress of long work: a bar on a terminal, a line a minute elsewhere
signals  the signals that ask a command to end, and `Stopped`, which ends it
run_log  ``log.txt`` in the folder of a run, and the versions of what matters
======== =========================================================================
"""
