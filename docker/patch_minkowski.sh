#!/bin/sh
# Make the source distribution of MinkowskiEngine 0.5.4 (May 2021) build with Python 3.11,
# PyTorch 2.5 and CUDA 11.8.
#
#   patch_minkowski.sh FOLDER
set -eu
cd "$1"

# Python 3.10 removed the aliases of the abstract classes from `collections`.
files=$(grep -rl '^from collections import Sequence' MinkowskiEngine)
for file in $files; do
    sed -i -e 's/^from collections import Sequence, /from collections.abc import Sequence\nfrom collections import /' \
        -e 's/^from collections import Sequence$/from collections.abc import Sequence/' "$file"
done

# PyTorch 2 no longer declares Tensor in the header before CUDAUtils.h, which calls its methods.
# The repository of MinkowskiEngine has the same line, added after the release.
sed -i 's|^#include <ATen/cuda/CUDAContext.h>$|#include <ATen/core/Tensor.h>\n&|' src/spmm.cu

# A patch that matched nothing would surface as an error of the compiler an hour later.
test -n "$files"
! grep -rq '^from collections import Sequence' MinkowskiEngine
grep -q '^#include <ATen/core/Tensor.h>$' src/spmm.cu
