"""Debian's XRootD server on a free port."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def xrootd_server(folder: Path) -> Iterator[str]:
    """Serve ``folder / "data"``, readable and writable; give its URL."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    config = folder / "xrootd.cfg"
    lines = ("all.export /data", f"oss.localroot {folder}", f"xrd.port {port}")
    config.write_text("".join(f"{line}\n" for line in (*lines, f"all.adminpath {folder}/admin")))
    command = ["xrootd", "-c", str(config), "-l", str(folder / "log")]
    if os.getuid() == 0:  # it refuses to be root
        command += ["-R", "nobody"]
        for path in (folder, *folder.parents):
            if not path.stat().st_mode & stat.S_IXOTH or path == folder:
                path.chmod(0o777)
        shutil.chown(folder / "data", "nobody")
    server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            with socket.socket() as client:
                if client.connect_ex(("127.0.0.1", port)) == 0:
                    break
            assert server.poll() is None, (folder / "log").read_text()
            time.sleep(0.05)
        yield f"root://localhost:{port}//data"
    finally:
        server.terminate()
        server.wait(10)
