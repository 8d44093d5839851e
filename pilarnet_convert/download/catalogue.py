"""The files of a data set, as its archive lists them.

The API of the Open Science Framework (developer.osf.io) gives name, size, SHA-256 and address of a
file; that of the Hugging Face hub (huggingface.co/docs/hub/api) lists paths, sizes and SHA-256.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote

from pilarnet_convert.download import datasets
from pilarnet_convert.download.datasets import DATASETS, IDENTIFIERS, PROJECT, REPOSITORIES
from pilarnet_convert.download.web import get_json
from pilarnet_convert.errors import PilarnetError, brief
from pilarnet_convert.options import OptionError
from pilarnet_convert.shards.format import SPLITS

__all__ = ["ListedFile", "list_files"]


@dataclass(frozen=True, kw_only=True)
class ListedFile:
    """A file of an archive.

    Attributes
    ----------
    path : PurePosixPath
        Its path in the data set.
    url : str
        Where its bytes are.
    size : int, optional
        Its size in bytes, if the archive lists it.
    sha256 : str, optional
        Its checksum, in hexadecimal, if the archive lists it.
    """

    path: PurePosixPath
    url: str
    size: int | None
    sha256: str | None


def list_files(
    name: str, *, splits: Sequence[str] = (), revision: str | None = None
) -> list[ListedFile]:
    """List the files of a data set.

    Parameters
    ----------
    name : str
        One of `DATASETS`.
    splits : sequence of str
        The splits of PILArNet-M; all of them unless given.
    revision : str, optional
        The branch or commit of PILArNet-M. By default v3, which pimm reads; for the mini set, its
        only one.

    Raises
    ------
    OptionError
        If there is no such data set or split, or it has no splits or revisions.
    PilarnetError
        If the archive cannot be reached, or has no such files.
    """
    if name not in DATASETS:
        raise OptionError(
            "no such data set", field="NAME", expected=", ".join(DATASETS), found=name
        )
    if unknown := set(splits) - set(SPLITS):
        raise OptionError(
            "no such split", field="--split", expected=", ".join(SPLITS), found=min(unknown)
        )
    if name in REPOSITORIES:
        revision = revision or ("v3" if name == "pilarnet-m" else "main")
        files = _of_hub(REPOSITORIES[name], revision, splits)
    elif splits or revision:
        raise OptionError(
            f"{name} is one set of files",
            field="--split" if splits else "--revision",
            advice="leave the option out",
        )
    else:
        files = _of_osf(name.rpartition("-")[2])
    try:
        found = sorted(files, key=lambda file: file.path)
    except (KeyError, TypeError, AttributeError) as error:
        raise PilarnetError(
            "the archive does not answer as documented",
            file=name,
            found=brief(error),
            advice="look for a newer release of pilarnet-clr",
        ) from error
    if not found:
        raise PilarnetError(
            "the archive lists no files of this data set",
            file=name,
            advice=f"look at https://osf.io/{PROJECT} and {datasets.HUB}/DeepLearnPhysics",
        )
    return found


def _of_osf(pixels: str) -> Iterator[ListedFile]:
    if pixels in IDENTIFIERS:
        for identifier in IDENTIFIERS[pixels].split():
            document, _ = get_json(f"{datasets.OSF}/guids/{identifier}/")  # leads on to the file
            yield _osf_file(document["data"])
        return
    for item in _walk_osf(f"{datasets.OSF}/nodes/{PROJECT}/"):
        if re.fullmatch(rf"dlprod_.*{pixels}px_.*\.root", item["attributes"]["name"]):
            yield _osf_file(item)


def _walk_osf(node: str) -> Iterator[Any]:
    """Yield the files of a project, of its folders and of its components."""
    folders = [f"{node}files/osfstorage/"]
    while folders:
        for item in _osf_pages(folders.pop()):
            if item["attributes"]["kind"] == "folder":
                folders.append(item["relationships"]["files"]["links"]["related"]["href"])
            else:
                yield item
    for child in _osf_pages(f"{node}children/"):
        yield from _walk_osf(f"{datasets.OSF}/nodes/{child['id']}/")


def _osf_pages(url: str) -> Iterator[Any]:
    following: str | None = url
    while following:
        document, _ = get_json(following)
        yield from document["data"]
        following = document["links"]["next"]


def _osf_file(item: Any) -> ListedFile:
    attributes, url = item["attributes"], item["links"]["download"]
    return ListedFile(
        path=_safe(attributes["name"], url),
        url=url,
        size=attributes.get("size"),
        sha256=((attributes.get("extra") or {}).get("hashes") or {}).get("sha256"),
    )


def _of_hub(repository: str, revision: str, splits: Sequence[str]) -> Iterator[ListedFile]:
    branch = quote(revision, safe="")
    root = f"{datasets.HUB}/datasets/{repository}/resolve/{branch}"
    following: str | None = f"{datasets.HUB}/api/datasets/{repository}/tree/{branch}?recursive=true"
    while following:
        items, following = get_json(following)
        for item in items:
            if item["type"] != "file":
                continue
            url = f"{root}/{quote(item['path'])}"
            path = _safe(item["path"], url)
            if path.parts[0] in splits if splits else path.name != ".gitattributes":
                yield ListedFile(
                    path=path,
                    url=url,
                    size=item["size"],
                    sha256=(item.get("lfs") or {}).get("oid"),
                )


def _safe(name: str, url: str) -> PurePosixPath:
    """Return the path of a file, which lies inside the folder of the data set."""
    path = PurePosixPath(name)
    if path.is_absolute() or not path.parts or ".." in path.parts:
        raise PilarnetError("a file with an unusable name", file=url, found=name)
    return path
