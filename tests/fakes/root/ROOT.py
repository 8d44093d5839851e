"""PyROOT, as far as dlp_opendata_api and the reader over it use it."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import uproot

from tests.fakes.events import Clusters, Particles

kWarning, kError, kFatal = 2000, 3000, 6000
gErrorIgnoreLevel = -1
PyConfig = SimpleNamespace(IgnoreCommandLineOptions=False)
gROOT = SimpleNamespace(SetBatch=lambda _: None)
_KINDS = {"cluster3d_mcst": Clusters, "particle_mcst": Particles}


def _report(text: str) -> None:
    """Write as C++ does: past sys.stderr, unless the level says otherwise."""
    if gErrorIgnoreLevel <= kError:
        os.write(2, f"Error in <ROOT>: {text}\n".encode())


class bad_alloc(Exception):
    """How an exception of C++ arrives in Python."""


class TFile:
    """A file; since release 6.32, opening a bad one raises OSError, before it gave a null."""

    null_on_failure = False

    def __init__(self, path: str) -> None:
        self._file = uproot.open(path)

    @staticmethod
    def Open(path: str) -> TFile | None:
        try:
            return TFile(path)
        except Exception:
            _report(f"cannot open {path}")
            if TFile.null_on_failure:
                return None
            raise OSError(f"Failed to open file {path}") from None

    def IsZombie(self) -> bool:
        return False

    def GetUUID(self) -> Any:
        return SimpleNamespace(AsString=lambda: str(self._file.file.uuid))

    def GetListOfKeys(self) -> list[Any]:
        return [SimpleNamespace(GetName=lambda k=k: k) for k in self._file.keys(cycle=False)]

    def Get(self, name: str) -> TTree:
        return TTree(self._file[name])

    def Close(self) -> None:
        self._file.close()


class TTree:
    def __init__(self, tree: Any) -> None:
        self._tree = tree

    def GetBranch(self, name: str) -> TBranch | None:
        found = [b for b in self._tree.itervalues(recursive=True) if b.name == name]
        return TBranch(found[0]) if found else None


class TBranch:
    def __init__(self, branch: Any) -> None:
        self._branch = branch

    def GetWriteBasket(self) -> int:
        return int(self._branch.member("fWriteBasket"))

    def GetBasketEntry(self) -> Any:
        return self._branch.member("fBasketEntry")

    def GetBasketBytes(self) -> Any:
        return self._branch.member("fBasketBytes")


class TChain:
    """Trees of one name in many files, and the one event object that they fill."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._files: list[Any] = []
        self._event: Any = None

    def GetName(self) -> str:
        return self._name

    def AddFile(self, path: str) -> int:
        product = self._name.removesuffix("_tree")
        self._files.append(_KINDS[product](uproot.open(path)[self._name]))
        return 1

    def GetEntries(self) -> int:
        return sum(file.num_entries for file in self._files)

    def GetEntry(self, entry: int) -> int:
        for file in self._files:
            if entry < file.num_entries:
                try:
                    self._event = file.load(entry)
                except ValueError as error:  # a count that the bytes do not bear out
                    raise bad_alloc("std::bad_alloc") from error
                except Exception:
                    _report("a basket cannot be read")
                    return -1  # and the event before stays where it was
                return 1000
            entry -= file.num_entries
        return 0

    def __getattr__(self, name: str) -> Any:
        if name == self._name.removesuffix("_tree") + "_branch":
            return self._event
        raise AttributeError(f"'TChain' object has no attribute '{name}'")
