"""The two ways in which ROOT serialises ``vector<larcv::Voxel>[]``, as plain loops.

A slow reference for the reader, and the tool with which damaged files are made.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["BYTE_COUNT", "HEADER", "MEMBERWISE", "Voxels", "decode", "encode", "encode_object_wise"]

#: The voxels of one cluster: ids (uint64) and energies (float32, MeV).
Voxels = tuple[NDArray[np.uint64], NDArray[np.float32]]

MEMBERWISE = 0x4000  # the bit of a version that says so
BYTE_COUNT = 0x40000000  # the bit of a number that makes it a byte count
HEADER = struct.Struct(">IHHI")  # byte count, version, class version (0), checksum of the class


def decode(raw: bytes) -> list[Voxels]:
    """Read a member-wise entry of clusters, one count after the other."""
    clusters, at = [], HEADER.size
    while at < len(raw):
        (count,) = struct.unpack_from(">I", raw, at)
        ids = np.frombuffer(raw, ">u8", count, at + 4).astype(np.uint64)
        values = np.frombuffer(raw, ">f4", count, at + 4 + 8 * count).astype(np.float32)
        clusters.append((ids, values))
        at += 4 + 12 * count
    return clusters


def encode(clusters: Sequence[Voxels], *, like: bytes) -> bytes:
    """Write clusters member-wise, with the versions and the checksum of another entry."""
    body = b"".join(
        struct.pack(">I", len(ids)) + ids.astype(">u8").tobytes() + values.astype(">f4").tobytes()
        for ids, values in clusters
    )
    _, *versions = HEADER.unpack_from(like)
    return HEADER.pack(BYTE_COUNT | (len(body) + HEADER.size - 4), *versions) + body


def encode_object_wise(raw: bytes) -> bytes:
    """Rewrite a member-wise entry object by object, each voxel with its own version."""
    _, version, class_version, checksum = HEADER.unpack_from(raw)
    voxel = np.dtype(
        [("bytes", ">u4"), ("version", ">u2"), ("checksum", ">u4"), ("id", ">u8"), ("value", ">f4")]
    )
    body = b""
    for ids, values in decode(raw):
        objects = np.zeros(len(ids), voxel)
        objects["bytes"], objects["version"] = BYTE_COUNT | (voxel.itemsize - 4), class_version
        objects["checksum"], objects["id"], objects["value"] = checksum, ids, values
        body += struct.pack(">I", len(ids)) + objects.tobytes()
    return struct.pack(">IH", BYTE_COUNT | (len(body) + 2), version & ~MEMBERWISE) + body
