"""How threads of one process wait for each other, so that several processes can share the cores of a machine.

GNU OpenMP, which torch computes with on a CPU, lets a thread that waits spin for milliseconds. Where another process
has the core that it waits for (a trainer beside a server, two trainers, a busy machine) every parallel region then
costs a time slice: two trainers of a 1.2 M model with two threads each on two cores made a step in seconds. Threads
that sleep at once are woken for each of the many small regions of a small model. A short spin costs neither; tokens/s
on those two cores, alone and beside another trainer: default 8,800 and below 100, asleep at once 6,300 and about
2,000, 5,000 spins 9,100 and 2,950.
"""

from __future__ import annotations

import os

SPINS = "5000"


def share_cores() -> None:
    """Let threads that wait sleep soon, unless the user has said otherwise. Counts only before torch is imported."""
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["GOMP_SPINCOUNT"] = SPINS
