"""Repositories at a path: what changed and nothing else, wherever a run was cut short."""

import os
import shutil
import subprocess
import threading
from itertools import islice

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.git import adapter as git
from clet.sources.git import history, process
from clet.sources.git.environment import Repository
from clet.sources.git.objects import Blobs
from clet.sources.interruption import Interrupted

MIT = (
    "Permission is hereby granted, free of charge, to any person obtaining a copy of this, to deal without restriction"
)


def paths(documents):
    return [document["meta"]["path"] for document in documents]


@pytest.fixture
def read(repository, context):
    """Reads the repository; `read.context` is the context of the last call."""

    def reading(cursor=None, path=None, **fields):
        reading.context = context("git", cursor, **fields)
        return git.read(str(path or repository.path), reading.context)

    return reading


# ---- what a document says


def test_text_files_of_the_default_commit_with_where_they_are_from(repository, read):
    repository.write("LICENSE", MIT)
    repository.write("docs/a.md", "# \u00dcber\n")
    first = repository.commit("2020-01-01T00:00:00Z")
    repository.write("b.py", "x = 1\n")
    second = repository.commit("2021-01-01T00:00:00Z")
    repository.git("remote", "add", "origin", "https://me:secret@github.com/o/r.git")
    documents = list(read())
    assert paths(documents) == ["LICENSE", "b.py", "docs/a.md"]
    assert [document["published"][:4] for document in documents] == ["2020", "2021", "2020"]
    assert {document["origin"] for document in documents} == {"https://github.com/o/r.git"}
    assert {document["license"] for document in documents} == {"MIT"}
    assert documents[2]["url"] == f"https://github.com/o/r/blob/{second}/docs/a.md"
    assert documents[2]["meta"]["blob"] == repository.git("rev-parse", f"{first}:docs/a.md").strip()


def test_secrets_are_masked_whether_asked_for_or_not(repository, read):
    key = "AKIA" + "Q3EGRVAX7OZ2MPLA"
    repository.write("a.py", f"KEY = '{key}'\n")
    repository.commit("2020-01-01T00:00:00Z")
    (document,) = read()
    assert key not in document["text"] and document["ingest"]["masked"] == {"secret": 1}


def test_a_file_that_states_its_licence_has_that_one(repository, read):
    repository.write("LICENSES/MIT.txt", MIT)
    repository.write("a.c", "// SPDX-License-Identifier: BSD-3-Clause\nint a;\n")
    repository.write("b.c", "int b;\n")
    repository.commit("2020-01-01T00:00:00Z")
    assert {document["title"]: document["license"] for document in read()} == {
        "LICENSES/MIT.txt": "MIT",
        "a.c": "BSD-3-Clause",
        "b.c": "MIT",
    }


def test_a_time_is_that_of_the_files_last_change_not_of_the_last_commit(repository, read):
    for year in range(2001, 2007):
        repository.write(f"{year % 3}.txt", f"text of {year}\n")
        repository.commit(f"{year}-01-01T00:00:00Z")
    assert [document["published"][:4] for document in read()] == ["2004", "2005", "2006"]


def test_times_beyond_what_is_looked_at_are_that_of_the_commit(repository, read, monkeypatch):
    monkeypatch.setattr(history, "MAX_COMMITS", 1)
    repository.write("old.txt", "old\n")
    repository.commit("2001-01-01T00:00:00Z")
    repository.write("new.txt", "new\n")
    repository.commit("2002-01-01T00:00:00Z")
    assert [document["published"][:4] for document in read()] == ["2002", "2002"]


# ---- what changed


def test_later_runs_give_only_what_changed(repository, read):
    for name in "abc":
        repository.write(f"{name}.txt", f"text {name}\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    before = {document["title"]: document["id"] for document in read(cursor)}
    repository.git("mv", "a.txt", "moved.txt")
    repository.git("rm", "-q", "b.txt")
    repository.write("c.txt", "text c, edited\n")
    repository.write("d.txt", "text d\n")
    commit = repository.commit("2021-01-01T00:00:00Z")
    gone, edited, new = read(cursor)
    assert gone["id"] == before["b.txt"] and gone["text"] == "" and gone["meta"]["deleted"] is True
    assert gone["meta"]["path"] == "b.txt"
    assert edited["title"] == "c.txt" and edited["meta"]["supersedes"] == before["c.txt"]
    assert new["title"] == "d.txt" and "supersedes" not in new["meta"]
    assert read.context.outlet.counts == {"moved": 1}
    assert cursor == {"commit": commit}
    assert list(read(cursor)) == []


def test_the_id_of_what_is_gone_is_that_of_the_masked_text(repository, read):
    repository.write("a.py", "KEY = 'AKIA" + "Q3EGRVAX7OZ2MPLA'\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    (before,) = read(cursor)
    repository.git("rm", "-q", "a.py")
    repository.write("b.py", "b\n")
    repository.commit("2021-01-01T00:00:00Z")
    assert next(iter(read(cursor)))["id"] == before["id"]


def test_a_file_that_stays_under_another_name_is_no_deletion(repository, read):
    repository.write("a.txt", "the same\n")
    repository.write("copy.txt", "the same\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    list(read(cursor))
    repository.git("rm", "-q", "a.txt")
    repository.commit("2021-01-01T00:00:00Z")
    assert list(read(cursor)) == []


def test_a_file_that_moves_out_of_a_skipped_folder_is_new_and_into_one_is_gone(repository, read):
    repository.write("node_modules/a.js", "var a;\n")
    repository.write("b.js", "var b;\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    (before,) = read(cursor)
    repository.git("mv", "node_modules/a.js", "a.js")
    repository.write("node_modules/c.js", "c")
    repository.git("mv", "b.js", "node_modules/b.js")
    repository.commit("2021-01-01T00:00:00Z")
    new, gone = read(cursor)
    assert new["title"] == "a.js"
    assert gone["id"] == before["id"] and gone["meta"]["deleted"]


@pytest.mark.parametrize("after", [b"x\0y", b"// Code generated by x. DO NOT EDIT.\n", b"", None])
def test_a_file_that_is_no_document_any_more_is_gone(repository, read, after):
    repository.write("a.go", "package a\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    (before,) = read(cursor)
    if after is None:
        os.unlink(repository.path / "a.go")
        os.symlink("/etc/passwd", repository.path / "a.go")
    else:
        repository.write("a.go", after)
    repository.commit("2021-01-01T00:00:00Z")
    (gone,) = read(cursor)
    assert gone["id"] == before["id"] and gone["meta"]["deleted"]


def test_a_mode_change_or_white_space_at_an_end_is_no_edit(repository, read):
    repository.write("a.sh", "echo\n")
    repository.write("b.sh", "echo b\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    list(read(cursor))
    os.chmod(repository.path / "a.sh", 0o755)
    repository.write("b.sh", "echo b\n\n")
    repository.commit("2021-01-01T00:00:00Z")
    assert list(read(cursor)) == []


def test_a_rewritten_history_is_followed_as_long_as_the_old_commit_is_there(repository, read):
    repository.write("a.txt", "text\n")
    repository.write("b.txt", "text b\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    before = list(read(cursor))
    repository.git("rm", "-q", "b.txt")
    repository.git("commit", "-q", "--amend", "-m", "another")
    (gone,) = read(cursor)
    assert gone["id"] == before[1]["id"]


def test_a_history_whose_old_commit_is_gone_is_read_anew(repository, read):
    for name in "abc":
        repository.write(f"{name}.txt", f"text {name}\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {"commit": "1" * 40, "reading": {"commit": "2" * 40, "done": 2}}
    documents = read(cursor)
    next(documents)
    documents.close()
    assert read.context.outlet.counts == {"history-rewritten": 1}
    assert paths(read(cursor)) == ["b.txt", "c.txt"]  # and cut short, it goes on all the same
    assert read.context.outlet.counts == {}


# ---- cut short


def test_a_run_cut_short_goes_on_where_it_was(repository, read):
    for number in range(300):
        repository.write(f"{number:03}.txt" if number % 3 else f"{number:03}.png", f"text {number}\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor, met, runs = {}, [], 0
    while True:
        documents = read(cursor)
        some = list(islice(documents, 17))
        documents.close()
        if not some:
            break
        met += paths(some)
        runs += 1
    assert met == [f"{number:03}.txt" for number in range(300) if number % 3]
    assert runs == 12 and set(cursor) == {"commit"}


def test_a_cursor_says_seen_of_a_document_when_it_is_yielded_and_not_before(repository, read):
    for number in range(100):
        repository.write(f"{number:02}.txt", f"text {number}\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    for number, _ in enumerate(read(cursor), start=1):
        assert cursor["reading"]["done"] == number and "commit" not in cursor


def test_what_changed_while_a_run_was_cut_short_comes_after_it(repository, read):
    for name in "abc":
        repository.write(f"{name}.txt", f"text {name}\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    documents = read(cursor)
    next(documents)
    documents.close()
    repository.write("a.txt", "edited\n")
    repository.git("rm", "-q", "c.txt")
    repository.commit("2021-01-01T00:00:00Z")
    found = [(document["title"] or document["meta"]["path"], document["text"]) for document in read(cursor)]
    assert found == [("b.txt", "text b"), ("c.txt", "text c"), ("a.txt", "edited"), ("c.txt", "")]


def test_a_later_step_cut_short_goes_on_too(repository, read):
    for number in range(10):
        repository.write(f"{number}.txt", f"text {number}\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    list(read(cursor))
    for number in range(10):
        repository.write(f"{number}.txt", f"text {number}, edited\n")
    repository.commit("2021-01-01T00:00:00Z")
    documents = read(cursor)
    first = [next(documents) for _ in range(4)]
    documents.close()
    rest = list(read(cursor))
    assert paths(first + rest) == [f"{number}.txt" for number in range(10)]
    assert all("supersedes" in document["meta"] for document in first + rest)


def test_when_the_intake_ends_no_git_process_is_left(repository, read):
    for number in range(200):
        repository.write(f"{number}.txt", f"text {number}\n")
    repository.commit("2020-01-01T00:00:00Z")
    documents = read()
    next(documents)
    read.context.interruption.stop = threading.Event()
    read.context.interruption.stop.set()
    running = set(process._children)
    assert running
    with pytest.raises(Interrupted):
        list(git.read(str(repository.path), read.context))
    assert set(process._children) == running
    documents.close()
    assert not process._children and all(child.poll() is not None for child in running)


# ---- what is read


def test_binary_generated_vendored_and_linked_files_are_passed_over(repository, read):
    repository.write("keep.js", "var readable = 1;\n" * 200)
    repository.write("b.dat2", b"x\0y")
    repository.write("node_modules/m/i.js", "x")
    repository.write("yarn.lock", "x")
    repository.write("x.min.js", "x")
    repository.write("made.go", "// Code generated by protoc. DO NOT EDIT.\npackage x\n")
    repository.write("packed.js", "var a=1;" * 1000)
    repository.write("__init__.py", "\n")
    repository.write("big.psb", "version https://git-lfs.github.com/spec/v1\noid sha256:0\n")
    os.symlink("/etc/passwd", repository.path / "link")
    repository.commit("2020-01-01T00:00:00Z")
    assert paths(read()) == ["keep.js"]
    assert read.context.outlet.counts == {
        "binary": 1,
        "vendored": 1,
        "lock": 1,
        "generated": 2,
        "minified": 1,
        "blank": 1,
        "lfs": 1,
        "link": 1,
    }


def test_attributes_outrank_names_both_ways(repository, read):
    repository.write(
        ".gitattributes",
        "*.js linguist-generated\nkeep.js -linguist-generated\nvendor/ours/** linguist-vendored=false\n"
        "*.txt linguist-vendored=true\n",
    )
    for path in ("a.js", "keep.js", "vendor/ours/a.py", "vendor/theirs/a.py", "a.txt", "a.py"):
        repository.write(path, f"text of {path}")
    repository.commit("2020-01-01T00:00:00Z")
    assert paths(read()) == [".gitattributes", "a.py", "keep.js", "vendor/ours/a.py"]
    assert read.context.outlet.counts == {"generated": 1, "vendored": 2}


def test_a_large_blob_is_passed_over_without_being_unpacked(repository, read, monkeypatch):
    monkeypatch.setattr(git, "MAX_SOURCE_BYTES", 100_000)
    repository.write("a.txt", "words " * 100_000)
    repository.write("b.txt", "small")
    repository.commit("2020-01-01T00:00:00Z")
    asked = []
    monkeypatch.setattr(Blobs, "_body", lambda self, size, body=Blobs._body: asked.append(size) or body(self, size))
    assert paths(read()) == ["b.txt"]
    assert read.context.outlet.counts == {"large": 1} and asked == [5]


def test_submodules_are_counted_and_not_followed(repository, read, tmp_path):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    repository.git("update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},sub")
    repository.git("commit", "-q", "-m", "with a submodule")
    cursor = {}
    assert paths(read(cursor)) == ["a.txt"]
    assert read.context.outlet.counts == {"submodule": 1}
    repository.git("rm", "-q", "--cached", "sub")
    repository.git("commit", "-q", "-m", "without it")
    assert list(read(cursor)) == []


# ---- kinds of repositories


@pytest.mark.parametrize("kind", ["bare", "worktree", "shallow", "detached", "git folder", "file URL"])
def test_every_kind_of_repository_is_read_the_same(repository, read, tmp_path, kind):
    repository.write("a.txt", "old\n")
    first = repository.commit("2020-01-01T00:00:00Z")
    repository.write("b.txt", "text b\n")
    repository.commit("2021-01-01T00:00:00Z")
    other = tmp_path / "other"
    if kind == "bare":
        repository.git("clone", "-q", "--bare", str(repository.path), str(other))
    elif kind == "worktree":
        repository.git("worktree", "add", "-q", "--detach", str(other))
    elif kind == "shallow":
        repository.git("clone", "-q", "--depth=1", f"file://{repository.path}", str(other))
    elif kind == "detached":
        repository.git("checkout", "-q", first)
        other = repository.path
    elif kind == "git folder":
        other = repository.path / ".git"
    else:
        other = f"file://{repository.path}"
    assert paths(read(path=other)) == (["a.txt"] if kind == "detached" else ["a.txt", "b.txt"])


def test_a_repository_with_sha256_names_is_read(context, tmp_path):
    path = tmp_path / "wide"
    environment = os.environ | {"GIT_CONFIG_GLOBAL": "/dev/null"}
    subprocess.run(["git", "init", "-q", "--object-format=sha256", str(path)], check=True, env=environment)
    (path / "a.txt").write_text("text\n")
    command = ["git", "-C", str(path), "-c", "user.name=x", "-c", "user.email=x"]
    subprocess.run([*command, "add", "."], check=True, env=environment)
    subprocess.run([*command, "commit", "-q", "-m", "x"], check=True, env=environment)
    cursor = {}
    (document,) = git.read(str(path), context("git", cursor))
    assert len(document["meta"]["blob"]) == len(cursor["commit"]) == 64


def test_what_is_no_repository_is_a_failure(repository, read, tmp_path):
    (repository.path / "sub").mkdir()
    for path, words in (
        (tmp_path, "not a git repository"),
        (repository.path / "sub", "not a git repository"),
        (tmp_path / "nothing", "no such folder"),
        (repository.path, "no commit yet"),
        ("file://elsewhere/x", "of this machine"),
    ):
        with pytest.raises(SourceFailed, match=words):
            list(read(path=path))


def test_a_head_that_names_nothing_is_a_failure(repository, read):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    repository.git("symbolic-ref", "HEAD", "refs/heads/none")
    with pytest.raises(SourceFailed, match="no commit yet"):
        list(read())


def test_a_partial_clone_gives_what_it_has(repository, read):
    repository.write("a.txt", "text a\n")
    repository.write("b.txt", "text b\n")
    repository.commit("2020-01-01T00:00:00Z")
    blob = repository.git("rev-parse", "HEAD:a.txt").strip()
    os.unlink(repository.path / ".git" / "objects" / blob[:2] / blob[2:])
    assert paths(read()) == ["b.txt"]
    assert read.context.outlet.counts == {"absent": 1}


def test_a_damaged_object_costs_that_file_only(repository, read):
    for name in "abcd":
        repository.write(f"{name}.txt", f"text {name} " * 100)
    repository.commit("2020-01-01T00:00:00Z")
    blob = repository.git("rev-parse", "HEAD:b.txt").strip()
    file = repository.path / ".git" / "objects" / blob[:2] / blob[2:]
    os.chmod(file, 0o644)
    with open(file, "r+b") as opened:
        opened.truncate(file.stat().st_size - 8)
    assert paths(read()) == ["a.txt", "c.txt", "d.txt"]
    (complaint,) = read.context.outlet.complaints
    assert complaint.startswith("b.txt: git cannot read object")


def test_a_repository_without_its_commit_is_a_failure_in_one_line(repository, read):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    shutil.rmtree(repository.path / ".git" / "objects")
    (repository.path / ".git" / "objects").mkdir()
    with pytest.raises(SourceFailed, match="git fsck") as caught:
        list(read())
    assert "\n" not in str(caught.value)


def test_too_old_a_git_is_told_so(monkeypatch, tmp_path):
    fake = tmp_path / "git"
    fake.write_text("#!/bin/sh\necho git version 2.20.1\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    process.program.cache_clear()
    try:
        with pytest.raises(SourceFailed, match=r"2\.20\.1: git 2\.31 or later"):
            process.start(Repository(tmp_path), ["version"])
    finally:
        process.program.cache_clear()
