"""Files of remote stores, named by URLs.

A process opens connections when it first needs them and must not be forked afterwards: a
`RemotePath` holds nothing but its URL, and can be sent to another process.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Final, TypeAlias, TypeVar
from urllib.parse import urlsplit

from pilarnet_convert.storage.ahead import in_threads

__all__ = ["AnyPath", "RemotePath", "as_any_path", "as_path", "is_url"]

_Result = TypeVar("_Result")
_UPLOADS_AT_ONCE: Final = 16
_URL: Final = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*://")


@dataclass(frozen=True)
class RemotePath:
    """A file or folder of a remote store; attributes and methods are named as those of a `Path`."""

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str | Path) -> RemotePath:
        base = self.url.rstrip("/")
        if base.startswith("root:") and not urlsplit(base).path:
            base += "/"  # XRootD's absolute paths begin with two slashes
        return RemotePath(f"{base}/{name}")

    @property
    def name(self) -> str:
        """The last part, without a query."""
        return PurePosixPath(self.url.partition("?")[0]).name

    @property
    def stem(self) -> str:
        """The name without its ending."""
        return PurePosixPath(self.name).stem

    @property
    def suffix(self) -> str:
        """The ending of the name, such as ``.root``."""
        return PurePosixPath(self.name).suffix

    @property
    def parent(self) -> RemotePath:
        """The folder."""
        return RemotePath(self.url.partition("?")[0].rstrip("/").rpartition("/")[0])

    def absolute(self) -> RemotePath:
        """Return the path itself: a URL is absolute."""
        return self

    def resolve(self) -> RemotePath:
        """Return the path itself."""
        return self

    def exists(self) -> bool:
        """Return whether there is such a file, or such a folder if the protocol has folders."""
        return bool(self._with_retries(lambda fs, path: fs.info(path), {}))

    def is_dir(self) -> bool:
        """Return whether there is such a folder; over HTTP, whether the URL ends in a slash."""
        if self._is_web:  # fsspec would download the file to look for links in it
            return self.url.endswith("/")
        return bool(self._with_retries(lambda fs, path: fs.isdir(path)))

    @property
    def _is_web(self) -> bool:
        return urlsplit(self.url).scheme in ("http", "https")

    def size(self) -> int:
        """Return the size of a file in bytes.

        Raises
        ------
        RemoteError
            If there is no such file, or its server does not serve ranges of bytes.
        """
        from pilarnet_convert.storage.connection import size_of

        return size_of(self.url)

    def read_bytes(self) -> bytes:
        """Read a whole, small file."""
        return self._with_retries(_read_whole)

    def read_ranges(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """Read ranges of bytes, all at once; those that fail are read again.

        Raises
        ------
        RemoteError
            If the file is gone, access is refused, or it ends before a range does.
        ConnectionFault
            If the tries are used up.
        """
        from pilarnet_convert.storage.connection import read_many

        return read_many([(self.url, start, stop) for start, stop in ranges])

    def find(self, suffixes: Sequence[str]) -> list[RemotePath]:
        """List the files with these endings at all levels of this folder, in order."""
        found = self._with_retries(lambda fs, path: [fs.unstrip_protocol(p) for p in fs.find(path)])
        paths = map(RemotePath, sorted(found))
        return [path for path in paths if path.suffix.lower() in suffixes]

    def glob(self, suffixes: Sequence[str]) -> list[RemotePath]:
        """List what the URL, a pattern with ``*`` and ``[]``, matches, in order.

        A folder is replaced by the files with these endings at all of its levels.
        """

        def matches(fs: Any, path: str) -> dict[RemotePath, bool]:
            found = sorted(fs.glob(path, detail=True).items())
            return {
                RemotePath(fs.unstrip_protocol(name)): info["type"] == "directory"
                for name, info in found
            }

        found = self._with_retries(matches).items()
        return [file for one, folder in found for file in (one.find(suffixes) if folder else [one])]

    def sizes(self) -> dict[str, int]:
        """Return the size of each file under this folder by its path from here."""

        def listed(fs: Any, path: str) -> dict[str, int]:
            found = fs.find(path, detail=True).items()
            return {name[len(path) :].strip("/"): info["size"] for name, info in found}

        return self._with_retries(listed, {})

    def write_bytes(self, data: bytes, *, only_new: bool = False) -> None:
        """Write a file, which appears whole; an existing one is replaced, or kept if `only_new`."""
        self._with_retries(lambda fs, path: _write(fs, path, data, only_new=only_new))

    def write_files(self, files: Mapping[str, bytes]) -> None:
        """Write files by their paths from this folder, several at once."""
        list(in_threads(self._write_file, files.items(), ahead=_UPLOADS_AT_ONCE))

    def _write_file(self, file: tuple[str, bytes]) -> None:
        name, data = file
        (self / name).write_bytes(data)

    def remove(self) -> None:
        """Remove the file, or all files under the folder, if there are any."""
        self._with_retries(lambda fs, path: fs.rm(path, recursive=True), None)

    def remove_files(self, names: Sequence[str]) -> None:
        """Remove existing files, named by their paths from this folder."""
        if names:
            self._with_retries(
                lambda fs, path: fs.rm([f"{path.rstrip('/')}/{name}" for name in names])
            )

    def _with_retries(self, request: Callable[[Any, str], _Result], *absent: _Result) -> _Result:
        # Imported here, as local files need none of it.
        from pilarnet_convert.storage.connection import with_retries

        return with_retries(self.url, request, *absent)


#: A file or folder, on this machine or in a remote store.
AnyPath: TypeAlias = Path | RemotePath


def as_path(path: str | Path) -> Path:
    """Return a local path that a user named; a leading ``~`` is the home folder."""
    return Path(os.path.expanduser(path))


def is_url(path: str) -> bool:
    """Return whether a path is the URL of a remote file."""
    return _URL.match(path) is not None


def as_any_path(path: str | AnyPath) -> AnyPath:
    """Return the path of a file or folder, local, or remote if it is a URL such as ``s3://...``."""
    if isinstance(path, str) and is_url(path):
        if path.startswith("file://"):
            return Path(path.removeprefix("file://"))
        return RemotePath(path)
    return path if isinstance(path, RemotePath) else as_path(path)


def _read_whole(fs: Any, path: str) -> bytes:
    # Without `start`, s3fs first asks for the size; the file system for XRootD needs `end`.
    end = fs.info(path)["size"] if "root" in fs.protocol else None
    data: bytes = fs.cat_file(path, start=0, end=end)
    return data


def _write(fs: Any, path: str, data: bytes, *, only_new: bool) -> None:
    if only_new and fs.exists(path):
        return
    try:
        # If the store can, it refuses to replace what another process has written meanwhile.
        fs.pipe_file(path, data, mode="create" if only_new else "overwrite")
    except FileExistsError:
        pass
    except NotImplementedError:  # raised by the file system for XRootD
        fs.makedirs(path.rpartition("/")[0], exist_ok=True)
        with fs.open(path, "wb") as stream:
            stream.write(data)
