"""Flood control: one event cannot have more than its share of what is learned, however much is written about it.

The share is taken of the tokens that left lately (MEMORY_TOKENS, exponentially) and of those that wait, so it holds in
a short run and over a long one. What is above it waits for the others to catch up, and is dropped (`flood`) where the
window has to make room, or ends. The long tail keeps its place in a week in which everybody writes about one thing.

Time: two additions a document; memory is that of the topics (`clet.priority.topics`).
"""

from __future__ import annotations

import numpy as np

from clet.kernels import njit
from clet.priority.topics import RING

MEMORY_TOKENS = 250_000.0
LEAST_TOKENS = 100_000.0  # that the share is taken of: in a run of ten documents three about one event are no flood

TOTAL, WEIGHT = 0, 1


def new_flow() -> np.ndarray:
    """Tokens that left, times the weight they were added with; and the present weight."""
    return np.array([0.0, 1.0])


@njit
def fits(flow, topics, topic, tokens, waiting, share):
    """Whether a document's topic stays within its share if it leaves now, with `waiting` tokens held (its own too)."""
    if share <= 0.0 or share >= 1.0 or topic < 0:
        return True
    slot = topic % RING
    if topics.owner[slot] != topic:
        return True
    taken = topics.emitted[slot] / flow[WEIGHT]
    return taken + tokens <= share * max(flow[TOTAL] / flow[WEIGHT] + waiting, LEAST_TOKENS)


@njit
def emit(flow, topics, topic, tokens):
    """Count a document that leaves."""
    slot = topic % RING
    if topic >= 0 and topics.owner[slot] == topic:
        topics.emitted[slot] += tokens * flow[WEIGHT]
    flow[TOTAL] += tokens * flow[WEIGHT]
    flow[WEIGHT] *= 2.0 ** (tokens / MEMORY_TOKENS)
    if flow[WEIGHT] > 1e12:
        topics.emitted[:] /= flow[WEIGHT]
        flow[TOTAL] /= flow[WEIGHT]
        flow[WEIGHT] = 1.0
