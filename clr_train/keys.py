"""Random numbers from keys, without a generator that has a state.

A draw is a hash of the integers that it is for (a seed, an epoch, a particle, a view, a voxel). It
is the same whatever was drawn before, in any process and on any device: the hash is integer
arithmetic modulo 2**64, and the numbers are made from it exactly. The names are those of
``jax.random``.
"""

from __future__ import annotations

import functools
from typing import Final

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from clr_train.runtime.kernels import runs_triton

__all__ = ["fold_in", "key", "normal", "permutation", "uniform"]

# A normal draw is one of 2**16 quantiles; the outermost lie at 4.32 standard deviations.
_NORMAL_BITS: Final = 16
_UNIFORM_BITS: Final = 24  # what the significand of a float32 holds


def _signed(word: int) -> int:
    """Return the int64 with the bits of an unsigned 64-bit word."""
    return word - (1 << 64) if word >> 63 else word


# SplitMix64: its increment, and the shifts and multipliers of its finaliser (variant 13 of David
# Stafford). G. L. Steele, D. Lea, C. H. Flood, "Fast splittable pseudorandom number generators",
# OOPSLA 2014, doi:10.1145/2660193.2660195.
_INCREMENT: Final = _signed(0x9E3779B97F4A7C15)
_ROUNDS: Final = ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB))
_LAST_SHIFT: Final = 31


def _mix(words: Tensor) -> Tensor:
    """Scramble int64 words in place (a bijection); return them."""
    if words.device.type == "cpu":
        return _mix_with_numpy(words)
    if runs_triton(words) and words.is_contiguous():
        from clr_train import triton_keys  # imports Triton

        return triton_keys.mix(words)
    return _mix_with_torch(words)


def _mix_with_numpy(words: Tensor) -> Tensor:
    """Scramble words on the CPU: numpy's unsigned integers take half the operations."""
    unsigned = words.numpy().view(np.uint64)
    for shift, multiplier in _ROUNDS:
        unsigned ^= unsigned >> np.uint64(shift)
        unsigned *= np.uint64(multiplier)
    unsigned ^= unsigned >> np.uint64(_LAST_SHIFT)
    return words


def _mix_with_torch(words: Tensor) -> Tensor:
    """Scramble words on any device."""
    for shift, multiplier in _ROUNDS:
        words ^= _shifted(words, shift)
        words *= _signed(multiplier)
    words ^= _shifted(words, _LAST_SHIFT)
    return words


def _shifted(words: Tensor, shift: int) -> Tensor:
    """Shift right and fill with zeros; torch fills a signed integer with its sign bit."""
    return (words >> shift).bitwise_and_((1 << (64 - shift)) - 1)


def _mix_int(word: int) -> int:
    """Scramble one unsigned word as `_mix` does, without the cost of a tensor's operations."""
    for shift, multiplier in _ROUNDS:
        word %= 1 << 64
        word = (word ^ (word >> shift)) * multiplier
    word %= 1 << 64
    return word ^ (word >> _LAST_SHIFT)


def fold_in(keys: Tensor, value: Tensor | int) -> Tensor:
    """Derive keys from each key and a value: SplitMix64's output number `value`.

    Parameters
    ----------
    keys : Tensor, int64
        Any 64 random bits are a key. The results are keys, and words for `uniform` and `normal`.
    value : Tensor of int64, or int
        What the new keys are for, 0 or more; broadcast against `keys`.
    """
    if isinstance(value, int):
        return _mix(keys + _signed((value + 1) * _INCREMENT % (1 << 64)))
    return _mix(keys + (value + 1) * _INCREMENT)


def key(*parts: int, device: torch.device | str = "cpu") -> Tensor:
    """Make a key, int64 [], from integers of at most 63 bits, e.g. a seed, an epoch and a purpose.

    Their order matters. The key is on `device`.
    """
    word = 0
    for part in parts:
        word = _mix_int(_mix_int(word + _INCREMENT) ^ part)
    return torch.full((), _signed(word), dtype=torch.int64, device=device)


def uniform(bits: Tensor, field: int = 0) -> Tensor:
    """Make uniform numbers in [0, 1), float32, from random words, int64, of `fold_in`.

    They are multiples of 2**-24. `field`, 0 or 1, says which 24 of the 64 bits to take: a word
    gives two independent numbers.
    """
    shift = 64 - (field + 1) * _UNIFORM_BITS
    whole = (bits >> shift).int().bitwise_and_((1 << _UNIFORM_BITS) - 1)  # 32 bits hold them
    return whole.to(torch.float32).mul_(2.0**-_UNIFORM_BITS)


def normal(bits: Tensor, field: int = 0) -> Tensor:
    """Make normal numbers, float32, from random words, int64, of `fold_in`.

    A draw is one of the quantiles of the standard normal distribution at (k + 1/2) / 2**16, looked
    up in a table: the same bits on every device, unlike logarithms and cosines. All lie between
    -4.33 and 4.33; their variance is 0.999995. `field`, 0 to 3, says which 16 of the 64 bits to
    take: a word gives four independent numbers.
    """
    shift = 64 - (field + 1) * _NORMAL_BITS
    whole = (bits >> shift).bitwise_and_((1 << _NORMAL_BITS) - 1)
    return _quantiles(str(bits.device))[whole]


@functools.cache
def _quantiles(device: str) -> Tensor:
    half = 1 << (_NORMAL_BITS - 1)
    # Only the upper half is computed, so that the table is exactly symmetric.
    rank = 0.5 + (torch.arange(half, dtype=torch.float64) + 0.5) / (2 * half)
    upper = torch.special.ndtri(rank).to(torch.float32)
    return torch.cat([-upper.flip(0), upper]).to(device)


def permutation(count: int, keys: Tensor) -> NDArray[np.int64]:
    """Draw a permutation of ``range(count)``, int64 [count].

    It depends on the key `keys`, int64 [], alone; permutations of numpy and torch may differ
    between their releases.
    """
    words = fold_in(keys.cpu(), torch.arange(count)).numpy()
    return np.argsort(words, kind="stable")
