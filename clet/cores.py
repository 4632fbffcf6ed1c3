"""How threads of one process wait for each other, so that several processes can share the cores of a machine.

GNU OpenMP, which torch computes with on a CPU, lets a thread that waits spin for milliseconds. Where another process
has the core that it waits for (a trainer beside a server, two trainers, a busy machine) every parallel region then
costs a time slice: two trainers with two threads each on two cores made a step in 8.3 s, and in 0.5 s with threads
that sleep.
"""

from __future__ import annotations

import os


def share_cores() -> None:
    """Let waiting threads sleep, unless the user has said otherwise. Counts only before torch is imported."""
    if not os.environ.keys() & {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"}:
        os.environ["OMP_WAIT_POLICY"] = "passive"
