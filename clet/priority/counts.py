"""Counts in 16 bits: floating-point numbers with 6 bits of exponent and 10 of fraction, rounded at random.

A table of counts that is larger than the nearest caches costs the wait for its lines, so half the width is half the
table. Adding to a number with few bits loses what is below its last one; it is rounded up or down by chance instead, in
proportion to what is lost, so that a count is right on average however large it grows (stochastic rounding: Forsythe
1950; approximate counting: Morris 1978). The chance comes from bits of a hash that the caller has anyway: nothing is
drawn, and the same stream gives the same counts.

Error: none to speak of below 1000 times the increment, 2% (one standard deviation) far above it. Numbers are 0 or from
LEAST to 2^47. Cost: two shifts and a multiplication to read, as much to add.
"""

from __future__ import annotations

import numpy as np

from clet.kernels import leaf, njit

LEAST = 2.0**-15  # below, there is nothing

_U32 = np.uint32
_SHIFT = _U32(13)  # bits of a float32's fraction that are left out
_NOISE = np.uint64((1 << 13) - 1)
_EXPONENT = 1 << 10  # one step of the exponent, and LEAST: what is smaller would be no normal number, and slow
# With so small an exponent a float32 is the 16 bits and 13 more: sums are formed there, and moved back when read.
_HOME = np.float32(2.0**-111)
_BACK = np.float32(2.0**111)


@leaf(forceinline=True)
def value_of(count):
    """The number that is meant by 16 bits, as float32."""
    return _U32(_U32(count) << _SHIFT).view(np.float32) * _BACK


@leaf(forceinline=True)
def count_of(value):
    """The 16 bits of a float32 or of what lies next below it."""
    return np.uint16(np.float32(value * _HOME).view(np.uint32) >> _SHIFT)


@leaf(forceinline=True)
def step_of(amount):
    """What `add` is to be given for an amount (float32)."""
    return amount * _HOME


@leaf(forceinline=True)
def add(count, step, noise):
    """The 16 bits of a count to which an amount was added; `noise` (uint64) is any 13 bits of chance."""
    total = np.float32(_U32(_U32(count) << _SHIFT).view(np.float32) + step).view(np.uint32)
    return np.uint16((total + _U32(noise & _NOISE)) >> _SHIFT)


@njit
def scale_back(counts, times):
    """Divide counts, in place, by 2^times; what gets smaller than LEAST is 0."""
    step = _EXPONENT * times
    for at in np.ndindex(counts.shape):
        left = np.int64(counts[at]) - step
        counts[at] = left if left >= _EXPONENT else 0
