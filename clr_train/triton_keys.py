"""The hash of `clr_train.keys` as a Triton kernel, for CUDA: one operation in place of eleven."""
# Triton's compiler reads annotations and refuses those of Python's type checkers.
# mypy: disable-error-code="no-untyped-def"

from __future__ import annotations

import triton
import triton.language as tl
from torch import Tensor

__all__ = ["mix"]

_WORDS = 1024


@triton.jit  # type: ignore[untyped-decorator]
def _mix(words_ptr, num_words, WORDS: tl.constexpr):
    """Scramble 64-bit words in place, as SplitMix64's finaliser does; see `clr_train.keys`."""
    place = tl.program_id(0).to(tl.int64) * WORDS + tl.arange(0, WORDS)
    mask = place < num_words
    word = tl.load(words_ptr + place, mask=mask, other=0).to(tl.uint64, bitcast=True)
    word = (word ^ (word >> 30)) * 0xBF58476D1CE4E5B9
    word = (word ^ (word >> 27)) * 0x94D049BB133111EB
    word = word ^ (word >> 31)
    tl.store(words_ptr + place, word.to(tl.int64, bitcast=True), mask=mask)


def mix(words: Tensor) -> Tensor:
    """Scramble contiguous words, int64, in place; return them."""
    if words.numel():
        _mix[(triton.cdiv(words.numel(), _WORDS),)](words, words.numel(), WORDS=_WORDS)
    return words
