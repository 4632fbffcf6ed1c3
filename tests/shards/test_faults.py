"""Every step of sealing fails once, in every way: killed before it, killed half way through a write, an error."""

import errno
import multiprocessing
import os
import signal

import numpy as np
import pytest

from clet import seeds
from clet.exits import WriteError
from clet.shards.build import ShardBuilder, ShardPlan
from clet.shards.directory import ShardDirectory
from clet.shards.manifest import read_manifest
from clet.shards.verify import verify_shard

CALLS = ("open", "writev", "lseek", "fsync", "replace", "mkdir", "close")
PLAN = ShardPlan(16, shard_tokens=200)


def run(path, batches):
    """Two commits, as a stream that is followed makes them."""
    with ShardDirectory.open(path) as directory:
        builder = ShardBuilder(directory, PLAN, lambda *_: None)
        for batch in batches:
            builder.add(batch)
            builder.seal_all()
            directory.commit()


def strike(at, how):
    """Make the `at`-th of the calls of this process fail: `kill` before it, `torn` half way through a write, or with
    an error number. Returns the list whose length is the number of calls made."""
    made = []

    def guarded(name, function):
        def call(*args, **kwargs):
            made.append(name)
            if len(made) - 1 == at:
                if how == "torn" and name == "writev":
                    os.write(args[0], b"".join(args[1])[: sum(map(len, args[1])) // 2])
                if how in ("kill", "torn"):
                    os.kill(os.getpid(), signal.SIGKILL)
                if name == "close":
                    function(*args)
                raise OSError(how, os.strerror(how))
            return function(*args, **kwargs)

        return call

    for name in CALLS:
        setattr(os, name, guarded(name, getattr(os, name)))
    return made


def in_child(function):
    """(exit code, what `function` returned) in a process of its own; no result where it was killed."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe(duplex=False)
    process = context.Process(target=lambda: theirs.send(function()))
    process.start()
    theirs.close()
    try:
        result = ours.recv()
    except EOFError:
        result = None
    process.join()
    return process.exitcode, result


@pytest.fixture(scope="module")
def batches(shard_tools):
    """Two batches in two lanes: the first makes shards in both, the second in one."""
    first = shard_tools.batch(shard_tools.rows(16)).annotate("priority", [{"lane": "ab"[i % 2]} for i in range(16)])
    second = shard_tools.batch(shard_tools.rows(8, name="second"), start=50)
    return [first, second.annotate("priority", [{"lane": "a"}] * 8)]


@pytest.fixture(scope="module")
def calm(tmp_path_factory, batches, shard_tools):
    """(files of an undisturbed run over a directory with one shard in it, the calls it made)."""
    warm = tmp_path_factory.mktemp("warm")
    before(warm, shard_tools)
    run(warm, batches)  # compiles all kernels: the compiler's cache makes such calls, too
    path = tmp_path_factory.mktemp("calm")
    before(path, shard_tools)

    def count():
        made = strike(-1, "count")
        run(path, batches)
        return made

    _, calls = in_child(count)
    assert len(calls) > 40 and set(calls) == set(CALLS)
    return shard_tools.files(path), calls


def before(path, shard_tools):
    """A directory that has a shard already."""
    shard_tools.write(path, [shard_tools.batch([[1, 2, 3]], start=90)])


def check_whole(path, calm_files):
    """The manifest is that of one of the commits, and what it lists is whole; its number of shards."""
    names = [entry.name for entry in read_manifest(path)]
    lines = calm_files["manifest.jsonl"].splitlines()
    assert (path / "manifest.jsonl").read_bytes().splitlines() == lines[: len(names)]
    assert len(names) in (1, len(lines) - 1, len(lines))
    for entry in read_manifest(path):
        verify_shard(entry)
    return len(names)


@pytest.mark.parametrize("how", ["kill", "torn"])
def test_killed_at_any_call_then_run_again_gives_the_bytes_of_an_undisturbed_run(
    tmp_path, batches, calm, shard_tools, how
):
    files, calls = calm
    for at in [at for at, name in enumerate(calls) if how == "kill" or name == "writev"]:
        path = tmp_path / f"{how}-{at}"
        before(path, shard_tools)
        code, _ = in_child(lambda at=at, path=path: (strike(at, how), run(path, batches)))
        assert code == -signal.SIGKILL, at
        check_whole(path, files)
        run(path, batches)
        assert shard_tools.files(path) == files, at


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO])
def test_an_error_at_any_call_is_told_and_leaves_the_old_or_the_new_state(tmp_path, batches, calm, shard_tools, number):
    files, calls = calm

    def fail(at, path):
        strike(at, number)
        try:
            run(path, batches)
        except WriteError as error:
            return str(error)
        except OSError:
            return "closing"  # of a descriptor that only reads
        return ""

    for at in range(0, len(calls), 3 if number == errno.ENOSPC else 7):
        path = tmp_path / str(at)
        before(path, shard_tools)
        code, told = in_child(lambda at=at, path=path: fail(at, path))
        assert code == 0, at
        assert told in ("", "closing") or (os.strerror(number) in told and "\n" not in told)
        known = check_whole(path, files)
        left = {name for name in shard_tools.files(path) if name.endswith(".clet") or ".tmp-" in name}
        assert len([name for name in left if name.endswith(".clet")]) >= known
        run(path, batches)
        assert shard_tools.files(path) == files, at


@pytest.mark.parametrize("seed", range(20))
def test_short_writes_change_nothing(tmp_path, batches, calm, shard_tools, monkeypatch, seed):
    random, writev = seeds.numpy_generator(seed, "tests/short"), os.writev

    def short(fd, parts):
        whole = b"".join(parts)
        return os.write(fd, whole[: int(random.integers(1, len(whole) + 1))])

    before(tmp_path, shard_tools)
    monkeypatch.setattr(os, "writev", short)
    run(tmp_path, batches)
    monkeypatch.setattr(os, "writev", writev)
    assert shard_tools.files(tmp_path) == calm[0]


def test_a_full_disk_leaves_no_file_of_the_run(tmp_path, batches, shard_tools, monkeypatch):
    before(tmp_path, shard_tools)
    files = shard_tools.files(tmp_path)

    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "writev", full)
    with pytest.raises(WriteError, match="No space left"):
        run(tmp_path, batches)
    assert shard_tools.files(tmp_path) == files


def test_an_fsync_that_fails_is_never_tried_again(tmp_path, batches, shard_tools, monkeypatch):
    before(tmp_path, shard_tools)
    files, calls = shard_tools.files(tmp_path), []

    def broken(fd):
        calls.append(fd)
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", broken)
    with pytest.raises(WriteError, match="Input/output error"):
        run(tmp_path, batches)
    assert calls and len(set(calls)) == len(calls)  # once for each shard
    assert shard_tools.files(tmp_path) == files


def test_numbers_of_documents_survive(tmp_path, batches, calm):
    """What the calm run holds is what went in."""
    run(tmp_path, batches)
    assert sum(entry.num_documents for entry in read_manifest(tmp_path)) == sum(map(len, batches))
    assert np.all([entry.num_tokens for entry in read_manifest(tmp_path)])
