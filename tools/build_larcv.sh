#!/usr/bin/env bash
# Build larcv (LArCV3) from its source distribution into an environment of its own.
#
#   tools/build_larcv.sh [VENV]     default: .venv-larcv3 of the repository
#
# The tests marked larcv3 run its Python beside ours, to write files that ours reads. Where VENV has
# larcv already, nothing is done. MAX_JOBS (2) bounds the compilers that run at once; PYTHON
# (python3) makes the environment.
set -euo pipefail

version=3.5.1
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${1:-$repository/.venv-larcv3}
python=$venv/bin/python
jobs=${MAX_JOBS:-2}

fail() {
    echo "build_larcv: $*" >&2
    exit 1
}

ready() {
    "$python" -c 'import larcv; print("build_larcv: larcv", larcv.__version__, "is ready")' \
        2>/dev/null
}

ready && exit

if ! dpkg -s libhdf5-dev >/dev/null 2>&1; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "build_larcv: installing Debian's libhdf5-dev"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libhdf5-dev >/dev/null ||
            fail "apt-get could not install libhdf5-dev"
    else
        fail "Debian package libhdf5-dev is missing; run: sudo apt-get install libhdf5-dev"
    fi
fi
for tool in g++ make; do
    command -v "$tool" >/dev/null ||
        fail "$tool is missing; run: sudo apt-get install build-essential"
done

[ -x "$python" ] || "${PYTHON:-python3}" -m venv "$venv"
# Its setup.py imports scikit-build; cmake 4 refuses projects as old as this one.
"$python" -m pip install --quiet 'setuptools<81' wheel scikit-build 'cmake<4' ninja numpy
log=$venv/build.log
echo "build_larcv: building larcv $version (about 12 minutes on two cores; log: $log)"
# The bundled HDF5 of h5py is no development package: cmake is to find Debian's.
PATH=$venv/bin:$PATH CMAKE_BUILD_PARALLEL_LEVEL=$jobs MAKEFLAGS=-j$jobs \
    "$python" -m pip install --no-build-isolation --no-cache-dir --no-binary larcv \
    "larcv==$version" >"$log" 2>&1 ||
    { tail -n 20 "$log" >&2; fail "the build failed; see $log"; }
ready || fail "larcv was built but does not import; see: $python -c 'import larcv'"
