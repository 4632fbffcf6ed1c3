"""Kernels: compiled once, loaded afterwards without the compiler, and both give the same."""

import signal
import subprocess
import sys

import pytest

from clet import kernels

KERNELS = """
from clet.kernels import njit
import numpy as np

@njit
def add(values, by):
    out = np.empty_like(values)
    for i in range(len(values)):
        out[i] = values[i] + by
    return out

@njit(inline="always")
def twice(x):
    return 2 * x

@njit
def both(values, by):
    return add(values, twice(by)).sum(), np.bool_(by > 3)

@njit
def later(values):
    return np.sort(values)[::-1]
"""
USE = """
import sys
from kernels_under_test import both, later
import numpy as np
print(both(np.arange(5), 4), sum(both.stats.cache_hits.values()))
if len(sys.argv) > 1:
    print(later(np.arange(3)), sum(later.stats.cache_hits.values()))
print("numba.cpython.cmathimpl" in sys.modules, "awkward" in sys.modules)
"""


@pytest.fixture
def use(tmp_path):
    """Runs USE with a cache of its own, and gives the lines that it prints."""
    (tmp_path / "kernels_under_test.py").write_text(KERNELS)

    def run(*words):
        done = subprocess.run(
            [sys.executable, "-c", USE, *words],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            env={"PATH": "/usr/bin:/bin", "CLET_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": _path(tmp_path)},
            timeout=600,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()

    return run


def _path(folder):
    import clet

    return f"{folder}:{clet.__path__[0]}/.."


def test_a_kernel_is_compiled_once_and_then_loaded_without_the_compiler(use):
    assert use() == ["(50, True) 0", "True False"]
    assert use() == ["(50, True) 1", "False False"]


def test_a_kernel_that_is_new_is_compiled_beside_one_that_is_loaded(use):
    use()
    assert use("more")[:2] == ["(50, True) 1", "[2 1 0] 0"]
    assert use("more")[:2] == ["(50, True) 1", "[2 1 0] 1"]


def test_one_function_compiled_with_other_options_is_another_kernel(tmp_path):
    (tmp_path / "kernels_under_test.py").write_text(
        "from clet.kernels import njit, prange\n"
        "def fill(out):\n"
        "    for i in prange(len(out)):\n"
        "        out[i] = i\n"
        "alone, together = njit(fill), njit(fill, parallel=True)\n"
    )
    use = (
        "import sys, numpy, kernels_under_test as k\n"
        "made = [(name, getattr(k, name)) for name in sys.argv[1:]]\n"
        "for _, kernel in made: kernel(numpy.empty(8))\n"
        "print([(name, sum(kernel.stats.cache_hits.values())) for name, kernel in made])\n"
    )

    def said(*names):
        return subprocess.run(
            [sys.executable, "-c", use, *names],
            check=True,
            capture_output=True,
            text=True,
            env={"PATH": "/usr/bin:/bin", "CLET_CACHE_DIR": str(tmp_path / "cache"), "PYTHONPATH": _path(tmp_path)},
        ).stdout

    assert said("together") == "[('together', 0)]\n"
    assert said("alone") == "[('alone', 0)]\n"  # not the one that runs on several threads
    assert said("alone", "together") == "[('alone', 1), ('together', 1)]\n"


def test_a_changed_kernel_is_compiled_anew(use, tmp_path):
    use()
    path = tmp_path / "kernels_under_test.py"
    path.write_text(KERNELS.replace("values[i] + by", "values[i] + by + 1"))
    assert use()[0] == "(55, True) 0"


def test_a_signal_waits_until_the_compiler_is_done():
    class Came(Exception):
        pass

    def raise_it(*_):
        raise Came

    before = signal.signal(signal.SIGTERM, raise_it)
    try:
        done = []
        with pytest.raises(Came), kernels._signals_later:
            with kernels._signals_later:
                signal.raise_signal(signal.SIGTERM)
                done.append("the kernel that is called")
            done.append("the kernel that calls it")
        assert len(done) == 2
        assert signal.getsignal(signal.SIGTERM) is raise_it
    finally:
        signal.signal(signal.SIGTERM, before)


def test_every_kernel_is_compiled_with_signals_waiting():
    during = []

    @kernels.njit
    def add(a, b):
        return a + b

    compile_ = add.compile.__wrapped__

    def look(*arguments, **options):
        during.append(signal.getsignal(signal.SIGTERM))
        return compile_(*arguments, **options)

    add.compile = kernels._undisturbed(look)
    assert add(1, 2) == 3
    assert during == [kernels._signals_later._note]
