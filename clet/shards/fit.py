"""The kernels of packing: cut, hold, fit best, write windows. `pack` says why; here is how.

`take` cuts documents: pieces of a whole window go straight into the frame, the rest of each is held. `plan` puts what
is held into windows by best-fit decreasing and says which of them leave; `emit` writes those into the frame. A kernel
returns where it cannot go on (the frame is full, a packing is due, more room is needed) and continues there when it
is called again, so that every step depends on the sequence of documents alone.

Best-fit decreasing needs no tree: lengths are at most a window, so they are sorted by counting; windows with equal
room form a stack, and a bitmap of the stacks that are not empty gives the least room that is enough. Time: about 40 ns
a piece and one copy of its ids; memory 32 bytes a piece held.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from clet.kernels import njit

DOCUMENT, INSIDE, HELD, HELD_TOKENS, ARRIVED = range(5)  # of the packer's state
WINDOWS, SEGMENTS, PASSED = range(3)  # of a frame's fill
DONE, FULL, DUE, NARROW = range(4)  # why `take` returns: all taken, frame full, packing due, no room for a piece

_U = np.uint64  # unsigned indices: for signed ones numba would allow for counting from the end


class Held(NamedTuple):
    """Pieces that wait: piece i, of document `rows[i]`, has `lengths[i]` of `ids`, in which they follow each other."""

    ids: np.ndarray  # [tokens] uint16 or uint32
    rows: np.ndarray  # [pieces] uint32
    lengths: np.ndarray  # [pieces] int64
    ages: np.ndarray  # [pieces] int64: packings that it has stayed for


class Room(NamedTuple):
    """Windows on their way into a frame, each with the segments up to `ends`.

    `fill` counts the windows and segments in it, and all windows that ever were.
    """

    ids: np.ndarray  # [windows, seq_len]
    ends: np.ndarray  # [windows] uint32
    lengths: np.ndarray  # [segments] uint32
    rows: np.ndarray  # [segments] uint32
    fill: np.ndarray  # [3] int64


class Plan(NamedTuple):
    """Windows that leave: window w has the pieces `members[ends[w - 1]:ends[w]]`. `stays` says which remain."""

    members: np.ndarray  # [leaving pieces] int64
    ends: np.ndarray  # [windows] int64
    stays: np.ndarray  # [pieces] bool


@njit
def take(values, starts, lengths, first_row, end_id, limit, held, room, state):
    """Take in documents `lengths[i]` ids long (with `end_id`, unless -1), from `starts[i]` of `values` on."""
    seq_len = room.ids.shape[1]
    extra = 1 if end_id >= 0 else 0
    at, inside = state[DOCUMENT], state[INSIDE]
    code = DONE
    while code == DONE and at < len(lengths):
        left = lengths[at] - inside
        if left >= seq_len:
            if room.fill[WINDOWS] == len(room.ids):
                code = FULL
                break
            window = room.fill[WINDOWS]
            _copy(values, starts[at] + inside, lengths[at] - extra - inside, seq_len, end_id, room.ids[window], 0)
            _close_segment(room, first_row + at, seq_len)
            _close_window(room, seq_len)
            inside += seq_len
            state[ARRIVED] += seq_len
        elif left > 0:
            if state[HELD] == len(held.rows):
                code = NARROW
                break
            piece = state[HELD]
            _copy(values, starts[at] + inside, lengths[at] - extra - inside, left, end_id, held.ids, state[HELD_TOKENS])
            held.rows[piece], held.lengths[piece], held.ages[piece] = first_row + at, left, 0
            state[HELD] += 1
            state[HELD_TOKENS] += left
            state[ARRIVED] += left
            inside += left
        if inside == lengths[at]:
            at, inside = at + 1, 0
        if state[HELD_TOKENS] >= limit or state[ARRIVED] >= 2 * limit:
            code = DUE
    state[DOCUMENT], state[INSIDE] = at, inside
    return code


@njit
def _copy(values, start, real, count, end_id, out, at):
    """`count` ids from `start` on; where only `real` are left, `end_id` is the last."""
    body = min(count, real)
    source, target = values[start : start + body], out[at : at + count]
    for i in range(body):
        target[_U(i)] = source[_U(i)]
    if body < count:
        target[body] = end_id


@njit
def _close_segment(room, row, length):
    segment = room.fill[SEGMENTS]
    room.rows[segment], room.lengths[segment] = row, length
    room.fill[SEGMENTS] += 1


@njit
def _close_window(room, used):
    window = room.fill[WINDOWS]
    room.ids[window, used:] = 0
    room.ends[window] = room.fill[SEGMENTS]
    room.fill[WINDOWS] += 1
    room.fill[PASSED] += 1


@njit
def plan(lengths, ages, seq_len, keep, max_age):
    """Windows for pieces of `lengths`, in order of their first pieces; with `keep` the emptier half of them stays.

    Full windows leave in any case, and so does a window with a piece that has stayed `max_age` times before.
    """
    window_of, rooms = best_fit(lengths, seq_len)
    first_window, number = np.full(len(rooms), -1, np.int64), 0  # windows by their first piece
    for piece in range(len(lengths)):
        if first_window[window_of[piece]] < 0:
            first_window[window_of[piece]] = number
            number += 1
    leaves = np.ones(len(rooms), np.bool_)
    if keep:
        leaves = _fullest(rooms, first_window, seq_len)
        for piece in range(len(lengths)):
            leaves[window_of[piece]] |= ages[piece] >= max_age
    counts = np.zeros(len(rooms), np.int64)  # pieces, by number of the window
    going = np.zeros(len(rooms), np.bool_)
    for window in range(len(rooms)):
        going[first_window[window]] = leaves[window]
    for piece in range(len(lengths)):
        counts[first_window[window_of[piece]]] += leaves[window_of[piece]]
    ends = np.cumsum(counts)
    place = ends - counts
    members = np.empty(counts.sum(), np.int64)
    stays = np.zeros(len(lengths), np.bool_)
    for piece in range(len(lengths)):
        if leaves[window_of[piece]]:
            window = first_window[window_of[piece]]
            members[place[window]] = piece
            place[window] += 1
        else:
            stays[piece] = True
    return Plan(members, ends[going], stays)


@njit
def _fullest(rooms, first_window, seq_len):
    """The fuller half of the windows, the earlier ones among equals, and all that are full."""
    counts = np.zeros(seq_len + 1, np.int64)
    for room in rooms:
        counts[room] += 1
    wanted = max((len(rooms) + 1) // 2, counts[0])
    most = 0  # room of the last that leaves
    while wanted > counts[most]:
        wanted -= counts[most]
        most += 1
    by_number = np.empty(len(rooms), np.int64)
    for window in range(len(rooms)):
        by_number[first_window[window]] = window
    leaves = np.zeros(len(rooms), np.bool_)
    for window in by_number:
        if rooms[window] < most:
            leaves[window] = True
        elif rooms[window] == most and wanted > 0:
            leaves[window] = True
            wanted -= 1
    return leaves


@njit
def best_fit(lengths, seq_len):
    """Best-fit decreasing: (window of each piece, room left in each window); lengths are 1 to `seq_len`.

    Longest first, ties by place; each goes where the least room is that is enough, the latest such window among
    equals.
    """
    order = _longest_first(lengths, seq_len)
    window_of = np.empty(len(lengths), np.int64)
    rooms = np.empty(len(lengths), np.int64)
    top = np.full(seq_len + 1, -1, np.int64)  # stacks of windows by room
    below = np.empty(len(lengths), np.int64)
    used = np.zeros(seq_len // 64 + 1, np.uint64)  # bit r: the stack of room r is not empty
    number = 0
    for piece in order:
        length = lengths[piece]
        room = _least_from(used, length)
        if room < 0:
            window, room = number, seq_len
            number += 1
        else:
            window = top[room]
            top[room] = below[window]
            if top[room] < 0:
                used[room // 64] &= ~(np.uint64(1) << np.uint64(room % 64))
        window_of[piece] = window
        room -= length
        rooms[window] = room
        if room > 0:
            below[window] = top[room]
            top[room] = window
            used[room // 64] |= np.uint64(1) << np.uint64(room % 64)
    return window_of, rooms[:number]


@njit
def _longest_first(lengths, longest):
    counts = np.zeros(longest + 2, np.int64)
    for length in lengths:
        counts[longest - length + 1] += 1
    place = np.cumsum(counts)
    order = np.empty(len(lengths), np.int64)
    for piece in range(len(lengths)):
        key = longest - lengths[piece]
        order[place[key]] = piece
        place[key] += 1
    return order


@njit
def _least_from(used, start):
    """The least set bit from `start` on, or -1."""
    word = start // 64
    bits = used[word] & (~np.uint64(0) << np.uint64(start % 64))
    while bits == 0:
        word += 1
        if word == len(used):
            return -1
        bits = used[word]
    bit = 0
    for shift in (32, 16, 8, 4, 2, 1):
        if bits & ((np.uint64(1) << np.uint64(shift)) - np.uint64(1)) == 0:
            bits >>= np.uint64(shift)
            bit += shift
    return word * 64 + bit


@njit
def emit(chosen, begin, held, starts, room):
    """Write windows of a plan from number `begin` on until the frame is full; the number of the next."""
    window = begin
    while window < len(chosen.ends) and room.fill[WINDOWS] < len(room.ids):
        used = 0
        for place in range(chosen.ends[window - 1] if window else 0, chosen.ends[window]):
            piece = chosen.members[place]
            length = held.lengths[piece]
            source = held.ids[starts[piece] : starts[piece] + length]
            target = room.ids[room.fill[WINDOWS], used : used + length]
            for i in range(length):
                target[_U(i)] = source[_U(i)]
            _close_segment(room, held.rows[piece], length)
            used += length
        _close_window(room, used)
        window += 1
    return window


@njit
def keep(stays, held, state):
    """Move what stays to the front of what is held."""
    kept = to = at = 0
    for piece in range(state[HELD]):
        length = held.lengths[piece]
        if stays[piece]:
            for i in range(length):  # forwards, in place
                held.ids[to + i] = held.ids[at + i]
            held.rows[kept], held.lengths[kept], held.ages[kept] = held.rows[piece], length, held.ages[piece] + 1
            kept += 1
            to += length
        at += length
    state[HELD], state[HELD_TOKENS], state[ARRIVED] = kept, to, 0
