"""The header of a ROOT file, which shows whether it is whole and was closed by its writer."""

from __future__ import annotations

import struct
from typing import Final

from pilarnet_convert.errors import FETCH_AGAIN, InputError
from pilarnet_convert.storage.byte_file import head_in_words

__all__ = ["HEAD_BYTES", "check_header"]

#: Enough for the header and the first record, which has the path of the file twice.
HEAD_BYTES: Final = 16_384


def check_header(head: bytes, *, size: int, file: object) -> bytes:
    """Check that a file is a ROOT file, closed and whole, by its first bytes.

    Parameters
    ----------
    head : bytes
        The first bytes, `HEAD_BYTES` of them or, of a smaller file, all.
    size : int
        The bytes of the file.
    file : object
        Its path.

    Returns
    -------
    bytes
        The header and the first record, which has the time and the UUID that ROOT gave the file.

    Raises
    ------
    InputError
        With what is wrong and what to do.

    Notes
    -----
    The layout of the header and of the first directory is that of ``TFile`` and
    ``TDirectoryFile``, as documented with ROOT.
    """
    if head[:4] != b"root":
        raise InputError(
            "not a ROOT file",
            file=file,
            expected="a file that begins with 'root'",
            found=head_in_words(head, size=size),
            advice="name LArCV2 files of PILArNet",
        )
    try:
        version, begin = struct.unpack(">ii", head[4:12])
        large = version >= 1_000_000
        end, *_ = struct.unpack_from(">q" if large else ">i", head, 12)
        name_bytes, *_ = struct.unpack_from(">i", head, 36 if large else 28)
        (record_bytes,) = struct.unpack_from(">i", head, begin)
        # TDirectoryFile: version, two dates, sizes of keys and name, then three positions.
        directory = begin + name_bytes
        wide = struct.unpack_from(">h", head, directory)[0] > 1000
        keys_bytes, *_ = struct.unpack_from(">i", head, directory + 10)
        seek_keys, *_ = struct.unpack_from(
            ">q" if wide else ">i", head, directory + 18 + (16 if wide else 8)
        )
    except struct.error as error:
        raise _truncated(file, expected="a whole header", size=size) from error
    if keys_bytes <= 0 or seek_keys <= 0:
        raise InputError(
            "was not closed by its writer and has no list of its contents",
            file=file,
            advice="wait until it is written, fetch it again, or let ROOT recover it",
        )
    if end > size or seek_keys + keys_bytes > size:
        raise _truncated(file, expected=f"{end} bytes", size=size)
    return head[: begin + record_bytes]


def _truncated(file: object, *, expected: str, size: int) -> InputError:
    return InputError(
        "truncated", file=file, expected=expected, found=f"{size} bytes", advice=FETCH_AGAIN
    )
