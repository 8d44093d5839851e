"""What all commands share.

======== =========================================================================
command  a click command with one-line errors, ``--debug`` and ``--version``
progress progress of long work: a bar on a terminal, a line a minute elsewhere
run_log  ``log.txt`` in the folder of a run, and the versions of what matters
======== =========================================================================
"""

from pilarnet_convert.console.command import INTERRUPTED, Command
from pilarnet_convert.console.progress import ProgressBar, print_line, progress_bar
from pilarnet_convert.console.run_log import RunLog

__all__ = ["INTERRUPTED", "Command", "ProgressBar", "RunLog", "print_line", "progress_bar"]
