"""What reading many windows needs: finding them, and copying them together.

Windows of a shuffled batch lie in as many shards as it has windows, so what finds and copies them takes addresses in
memory: one call a batch, where a call for each shard would cost a microsecond or two each. An address is made of a
mapping that its owner holds and of the place of a frame that was checked; 0 says that there is none yet.

Copying is one pass, faster than numpy's fancy indexing, which checks each window's number and fills an array of its
own. Asking the processor for the next window beforehand changed nothing: it finds the run of a window by itself.
"""

from __future__ import annotations

import numpy as np
from numba.core import cgutils, types
from numba.extending import intrinsic

from clet.kernels import njit


@intrinsic
def _copy_from(typingctx, address, out, row, num_bytes):
    """Copy bytes from an address (uint64) to the begin of a row (uint64) of a contiguous array."""

    def generate(context, builder, signature, args):
        array = context.make_array(signature.args[1])(context, builder, args[1])
        whole = builder.ptrtoint(array.data, args[0].type)
        step = builder.extract_value(array.strides, 0)
        byte = cgutils.voidptr_t
        target = builder.inttoptr(builder.add(whole, builder.mul(args[2], step)), byte)
        cgutils.raw_memcpy(builder, target, builder.inttoptr(args[0], byte), args[3], 1)
        return context.get_dummy_value()

    return types.none(address, out, row, num_bytes), generate


@njit
def copy_from(addresses, first, out):
    """`out[i]` = the window at `addresses[first + i]`; each is readable memory, as long as a row."""
    num_bytes = np.int64(out.shape[1] * out.itemsize)
    for i in range(len(out)):
        _copy_from(addresses[first + i], out, np.uint64(i), num_bytes)


@njit
def locate(numbers, bounds, frame_windows, first_frame, frames, window_bytes, addresses):
    """Addresses of windows, which are counted through the shards: shard s has those from `bounds[s]` on.

    Its frames have `frame_windows[s]` windows each and are at `frames[first_frame[s]]` and behind. Returns whether
    all were there; the address of a window whose frame is not, is 0.
    """
    shard, whole = 0, True
    for i in range(len(numbers)):
        number = numbers[i]
        if not bounds[shard] <= number < bounds[shard + 1]:
            low, high = 0, len(bounds) - 1
            while high - low > 1:
                middle = (low + high) // 2
                if bounds[middle] <= number:
                    low = middle
                else:
                    high = middle
            shard = low
        inside = number - bounds[shard]
        frame = inside // frame_windows[shard]
        found = frames[first_frame[shard] + frame]
        whole &= found != 0
        inside -= frame * frame_windows[shard]
        addresses[i] = found + np.uint64(inside * window_bytes) if found else found
    return whole
