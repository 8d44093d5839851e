"""What all commands share.

======== =========================================================================
command  a click command with one-line errors, ``--debug`` and ``--version``
flags    parameters made from a record of options, and paths
progress progress of long work: a bar on a terminal, a line a minute elsewhere
signals  what asks a command to end, and `Stopped`, which ends it
run_log  ``log.txt`` in the folder of a run, and the versions of what matters
======== =========================================================================
"""

from pilarnet_convert.console.command import Command
from pilarnet_convert.console.flags import PathType, TextFile, make_flags, required_path
from pilarnet_convert.console.progress import ProgressBar, print_line, progress_bar
from pilarnet_convert.console.run_log import RunLog
from pilarnet_convert.console.signals import Stopped

__all__ = [
    "Command",
    "PathType",
    "ProgressBar",
    "RunLog",
    "Stopped",
    "TextFile",
    "make_flags",
    "print_line",
    "progress_bar",
    "required_path",
]
