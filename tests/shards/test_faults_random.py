"""clet shard struck at a random system call: the old directory or the new one, the error said, nothing half applied."""

import resource
import shutil

import pytest
from faults import parts, places, run_here, strike

from clet.exits import ExitCode
from clet.shards.manifest import read_manifest
from clet.shards.verify import verify_shard

pytestmark = pytest.mark.faults


def shard(folder, *more):
    """The command on the batches in `folder`, added to `folder/out`."""
    words = ["shard", folder / "in.clet", "-o", folder / "out", "-q", "--seq-len", "16", "--shard-tokens", "200", *more]
    return run_here(*words)


@pytest.fixture(scope="module", params=[(), ("-j", "2", "--level", "1")], ids=["stored", "zstd-j2"])
def scene(request, tmp_path_factory, shard_tools):
    """(folder with a directory that has a shard already, flags, its files after a calm run, system calls of that)."""
    folder = tmp_path_factory.mktemp("scene") / "before"
    folder.mkdir()
    batch = shard_tools.batch(shard_tools.rows(30)).annotate("priority", [{"lane": "ab"[i % 2]} for i in range(30)])
    from clet.streams import RecordWriter

    writer = RecordWriter(str(folder / "in.clet"))
    writer.write(batch)
    writer.close()
    shard_tools.write(folder / "out", [shard_tools.batch([[1, 2, 3]], start=90)], level=1 if request.param else None)
    calm = folder.with_name("calm")
    shutil.copytree(folder, calm)
    assert shard(calm, *request.param) == ExitCode.OK  # in this process: everything is imported from now on
    shutil.rmtree(calm)
    shutil.copytree(folder, calm)
    outcome = strike(lambda: shard(calm, *request.param))
    assert outcome.status == ExitCode.OK and outcome.calls > 30, outcome
    return folder, request.param, shard_tools.files(calm / "out"), outcome.calls


@pytest.mark.parametrize("seeds", parts(), ids=str)
def test_whatever_strikes_the_directory_is_old_or_new(scene, tmp_path, shard_tools, seeds):
    before, flags, new, calls = scene
    old = shard_tools.files(before / "out")
    assert old["manifest.jsonl"] != new["manifest.jsonl"]
    for seed, at, how in places(calls, seeds, "shard"):
        folder = tmp_path / str(seed)
        shutil.copytree(before, folder)
        outcome = strike(lambda folder=folder: shard(folder, *flags), at, how)
        where = (seed, at, how, outcome)
        left = shard_tools.files(folder / "out")
        assert left["manifest.jsonl"] in (old["manifest.jsonl"], new["manifest.jsonl"]), where
        for entry in read_manifest(folder / "out"):
            verify_shard(entry)
        if outcome.status >= 0 and outcome.struck is not None:  # an error that the command has met
            is_new = left["manifest.jsonl"] == new["manifest.jsonl"]
            assert outcome.status != ExitCode.BUG and "Traceback" not in outcome.said, where
            assert is_new or (outcome.status != ExitCode.OK and outcome.said.count("\n") == 1), where
            assert not any(".tmp-" in name for name in left) or outcome.struck == "unlink", where
        shard(folder, *flags)
        assert shard_tools.files(folder / "out") == new, where
        shutil.rmtree(folder)


@pytest.mark.parametrize("seeds", parts(), ids=str)
def test_a_kill_at_any_moment_leaves_old_or_new(scene, tmp_path, shard_tools, seeds):
    """Between system calls too, among threads."""
    before, flags, new, _ = scene
    old = shard_tools.files(before / "out")["manifest.jsonl"]
    for seed in seeds[::4]:
        folder = tmp_path / str(seed)
        shutil.copytree(before, folder)
        outcome = strike(lambda folder=folder: shard(folder, *flags), after_s=0.0004 * (seed % 97))
        assert (folder / "out" / "manifest.jsonl").read_bytes() in (old, new["manifest.jsonl"]), (seed, outcome)
        shard(folder, *flags)
        assert shard_tools.files(folder / "out") == new, (seed, outcome)
        shutil.rmtree(folder)


def test_a_file_that_may_not_grow_leaves_the_old_directory(scene, tmp_path, shard_tools):
    """A limit on the size of files is what a full disk is, at any byte and without privileges."""
    before, flags, new, _ = scene
    old = shard_tools.files(before / "out")
    largest = max(map(len, new.values()))
    for limit in range(500, largest + 200, 97):  # what is said goes to a file too
        folder = tmp_path / str(limit)
        shutil.copytree(before, folder)

        def limited(folder=folder, limit=limit):
            resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
            return shard(folder, *flags)

        outcome = strike(limited)
        if limit > largest:
            assert outcome.status == ExitCode.OK and shard_tools.files(folder / "out") == new
        else:
            assert outcome.status == ExitCode.WRITE_FAILED, (limit, outcome)
            assert outcome.said.count("\n") == 1 and "File too large" in outcome.said, (limit, outcome)
            assert shard_tools.files(folder / "out") == old, limit
        shutil.rmtree(folder)
