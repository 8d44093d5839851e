#!/usr/bin/env bash
# Build MinkowskiEngine from its source distribution and install it into a virtual environment.
#
#   tools/build_minkowski.sh [VENV]     default: .venv of the repository
#
# The wheel is kept in ${XDG_CACHE_HOME:-$HOME/.cache}/pilarnet-clr/wheels, in a folder named after
# the torch and the Python it was linked against, so that a second run, even from another clone,
# only installs it. MAX_JOBS (2) bounds the compilers that run at once.
set -euo pipefail

version=0.5.4
repository=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
venv=${1:-$repository/.venv}
python=$venv/bin/python
export MAX_JOBS=${MAX_JOBS:-2}

fail() {
    echo "build_minkowski: $*" >&2
    exit 1
}

[ -x "$python" ] || fail "no Python at $python; make the environment first (python3.11 -m venv $venv)"

found=$("$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])')
# The build needs distutils and numpy.distutils, which are gone in Python 3.12.
[ "$found" = 3.11 ] || fail "MinkowskiEngine $version builds on Python 3.11, found $found at $python"

"$python" -c 'import torch' 2>/dev/null ||
    "$python" -m pip install --quiet torch -c "$repository/constraints.txt" ||
    fail "torch could not be installed into $venv"
torch=$("$python" -c 'import torch; print(torch.__version__)')

wheels=${XDG_CACHE_HOME:-$HOME/.cache}/pilarnet-clr/wheels/torch-$torch-cp311-$(uname -m)
wheel=$(find "$wheels" -maxdepth 1 -name "minkowskiengine-$version-*.whl" -print -quit 2>/dev/null ||
    true)

# Read to the end: a pipe that grep closes early would fail under pipefail. A user's PATH on Debian
# lacks the folder of ldconfig.
if ! PATH=$PATH:/usr/sbin:/sbin ldconfig -p | grep 'libopenblas\.so ' >/dev/null; then
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        echo "build_minkowski: installing Debian's libopenblas-dev"
        apt-get update -qq
        DEBIAN_FRONTEND=noninteractive apt-get install -y -qq libopenblas-dev >/dev/null ||
            fail "apt-get could not install libopenblas-dev"
    else
        fail "Debian package libopenblas-dev is missing; run: sudo apt-get install libopenblas-dev"
    fi
fi

if [ -z "$wheel" ]; then
    for tool in g++ make; do
        command -v "$tool" >/dev/null ||
            fail "$tool is missing; run: sudo apt-get install build-essential"
    done
    "$python" - <<'PYTHON' || fail "the headers of Python 3.11 are missing; run: sudo apt-get install python3.11-dev"
import pathlib, sys, sysconfig
sys.exit(not pathlib.Path(sysconfig.get_paths()["include"], "Python.h").is_file())
PYTHON
    # Its setup.py imports these, and a build in isolation would fetch another torch.
    "$python" -m pip install --quiet 'setuptools<81' wheel ninja numpy
    mkdir -p "$wheels"
    scratch=$(mktemp -d "$wheels/.build-XXXXXX")
    trap 'rm -rf "$scratch"' EXIT
    log=$wheels/build.log
    echo "build_minkowski: building MinkowskiEngine $version for torch $torch (about 10 minutes on" \
        "two cores; log: $log)"
    # The standard library's distutils: the one that setuptools brings lacks what numpy.distutils
    # calls. Its setup.py calls the pip that it finds first, and Debian's own would refuse.
    PATH=$(cd "$venv/bin" && pwd):$PATH SETUPTOOLS_USE_DISTUTILS=stdlib TMPDIR=$scratch \
        "$python" -m pip wheel \
        --no-build-isolation --no-deps --no-cache-dir \
        --wheel-dir "$scratch" "MinkowskiEngine==$version" >"$log" 2>&1 ||
        { tail -n 20 "$log" >&2; fail "the build failed; see $log"; }
    built=$(find "$scratch" -maxdepth 1 -iname 'minkowskiengine-*.whl' -print -quit)
    # Renamed within the file system: an interrupted build leaves no half wheel behind.
    wheel=$wheels/$(basename "$built" | tr '[:upper:]' '[:lower:]')
    mv "$built" "$wheel"
fi

"$python" -m pip install --quiet --no-deps --force-reinstall "$wheel"
"$python" -c '
import collections, collections.abc
collections.Sequence = collections.abc.Sequence
import MinkowskiEngine
print(f"build_minkowski: MinkowskiEngine {MinkowskiEngine.__version__} is ready")
'
