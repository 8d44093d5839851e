"""The low-level interface of dlp_opendata_api, with its manners."""

import sys

try:
    from larcv import larcv  # noqa: F401
    from ROOT import TChain, TFile
except ImportError:
    print("ROOT and larcv are required!")
    sys.exit(1)


def list_data(path):
    """List the products of a file."""
    file = TFile.Open(path)
    names = [str(key.GetName()) for key in file.GetListOfKeys()]
    file.Close()
    return [name.replace("_tree", "") for name in names if name.endswith("_tree")]


class data_reader:
    """Chains of products that move together, whatever they hold."""

    def __init__(self):
        self._names, self._chains, self._ptrs, self._input_files = [], [], {}, []

    def add_data(self, *names):
        for name in names:
            self._names.append(name)
            self._chains.append(TChain(name + "_tree"))
            self._fill(self._chains[-1], self._input_files)

    def add_file(self, *files):
        for file in files:
            self._input_files.append(file)
            for chain in self._chains:
                self._fill(chain, [file])

    @staticmethod
    def _fill(chain, files):
        for file in files:
            if str(chain.GetName()).replace("_tree", "") in list_data(file):
                chain.AddFile(file)
            else:
                print(f"Warning: {chain.GetName()} is not in file {file}")

    def read(self, entry):
        for name, chain in zip(self._names, self._chains, strict=True):
            chain.GetEntry(entry)
            self._ptrs[name] = getattr(chain, name + "_branch")

    def data(self, name):
        return self._ptrs[name]

    def entry_count(self):
        return self._chains[0].GetEntries() if self._chains else 0
