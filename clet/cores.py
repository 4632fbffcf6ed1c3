"""How threads of one process wait for each other, so that several processes can share the cores of a machine.

GNU OpenMP, which torch computes with on a CPU, lets a thread that waits spin for milliseconds. Where another process
has the core that it waits for (a trainer beside a server, two trainers, a busy machine) every parallel region then
costs a time slice: two trainers of a 1.2 M model with two threads each on two cores made a step in seconds. Threads
that sleep at once are woken for each of the many small regions of a small model. A short spin is between the two.
Measured with that model, tokens/s alone, and beside another trainer: default 9,500 and 5 steps in 13 s, asleep at
once 7,000 and 5,800, 5,000 spins 9,500 and 3,000. Who always shares the cores sets OMP_WAIT_POLICY=passive.
"""

from __future__ import annotations

import os

SPINS = "5000"


def share_cores() -> None:
    """Let threads that wait sleep soon, unless the user has said otherwise. Counts only before torch is imported."""
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = SPINS
