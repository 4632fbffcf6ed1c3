"""clet train struck at any system call, its releases and saves written aside included: nothing whole is lost.

A trainer that is killed, or whose disk is full or fails, at any call that changes something outside it ends as it
should, and the next one makes the run that an undisturbed one would have made.
"""

from __future__ import annotations

import pytest
from train_struck import at_a_full_disk, at_any_call, in_fresh_process


@pytest.mark.faults
def test_struck_at_any_call_the_run_goes_on_to_what_it_would_have_been(tmp_path):
    in_fresh_process(at_any_call, tmp_path)


@pytest.mark.faults
def test_a_disk_that_is_full_while_releasing_says_so_and_the_release_is_made_later(tmp_path):
    in_fresh_process(at_a_full_disk, tmp_path)
