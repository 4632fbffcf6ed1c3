"""Repositories made to harm: nothing of theirs is run, nothing is written by their paths, nothing grows without end."""

import hashlib
import os
import zlib

import pytest

from clet.sources.adapter import SourceFailed
from clet.sources.git import adapter as git
from clet.sources.git import process


@pytest.fixture
def read(repository, context):
    def reading(cursor=None, path=None):
        reading.context = context("git", cursor)
        return git.read(str(path or repository.path), reading.context)

    return reading


@pytest.fixture
def forge(repository):
    """Objects that git itself would refuse to write: `forge.blob(body)`, `forge.tree(entries)`, `forge.head(tree)`."""

    class Forge:
        def put(self, kind, body):
            whole = f"{kind} {len(body)}\0".encode() + body
            name = hashlib.sha1(whole).hexdigest()
            file = repository.path / ".git" / "objects" / name[:2] / name[2:]
            file.parent.mkdir(exist_ok=True)
            if not file.exists():
                file.write_bytes(zlib.compress(whole))
            return name

        def blob(self, body):
            return self.put("blob", body)

        def tree(self, entries):
            return self.put("tree", b"".join(b"%s %s\0" % entry[:2] + bytes.fromhex(entry[2]) for entry in entries))

        def head(self, tree):
            body = f"tree {tree}\nauthor x <x> 1577836800 +0000\ncommitter x <x> 1577836800 +0000\n\nx\n"
            repository.git("update-ref", "HEAD", self.put("commit", body.encode()))

    return Forge()


def test_hostile_names_are_only_text(repository, read):
    names = [
        b"new\nline \x1b[31m.txt",
        b"\xff\xfe.txt",
        b"-rf",
        b"a\tb.txt",
        b'"quoted".txt',
        b"back\\slash.txt",
        b"commit " + b"0" * 40 + b" 99",
        "right\u202eleft.txt".encode(),
        b"long/" * 700 + b"x.txt",
    ]
    for name in names[:-1]:
        repository.write(name, b"text of " + name.hex().encode())
    repository.git("add", "-A")
    blob = repository.git("hash-object", "-w", "new\nline \x1b[31m.txt").strip()
    repository.git("update-index", "--add", "--cacheinfo", f"100644,{blob},{names[-1].decode()}")
    repository.git("commit", "-q", "-m", "names")
    documents = list(read())
    assert len(documents) == len(names)
    assert {document["published"] for document in documents} == {"2020-01-01T00:00:00Z"}
    for document in documents:
        for text in (document["title"], document["meta"]["path"]):
            assert not any(char in text for char in "\x1b\n\t\u202e")


@pytest.mark.parametrize(
    "name", [b"..", b".", b"", b".git", b".GIT", b"/etc/passwd", b"a/../../b", b"a//b", b"x" * 5000, b"../evil.txt"]
)
def test_paths_that_no_honest_tree_has_are_passed_over_and_nothing_is_written(repository, forge, read, tmp_path, name):
    evil, good = forge.blob(b"evil"), forge.blob(b"good")
    below = forge.tree([(b"100644", b"passwd", evil)])
    forge.head(forge.tree([(b"100644", name, evil), (b"40000", name, below), (b"100644", b"good.txt", good)]))
    before = {str(path) for path in tmp_path.rglob("*")}
    try:
        found = [document["meta"]["path"] for document in read()]
    except SourceFailed as error:
        assert "empty filename" in str(error)  # git itself gives up on that one
        assert name == b""
    else:
        assert found == ["good.txt"] and read.context.outlet.counts == {"odd-path": 2}
    new = {str(path) for path in tmp_path.rglob("*")} - before
    assert all("/cache/git/" in path or path.endswith(("/cache", "/cache/git")) for path in new)


def test_an_entry_that_is_no_blob_is_damage_of_that_entry(forge, read):
    good = forge.blob(b"good")
    forge.head(forge.tree([(b"100644", b"bad.txt", forge.tree([])), (b"100644", b"good.txt", good)]))
    assert [document["title"] for document in read()] == ["good.txt"]
    assert len(read.context.outlet.complaints) == 1


def test_a_few_trees_that_name_countless_paths_are_refused(forge, read, monkeypatch):
    monkeypatch.setattr(git, "MAX_PATHS", 5000)
    level = forge.tree([(b"100644", b"%d.txt" % number, forge.blob(b"bomb")) for number in range(10)])
    for _ in range(12):
        level = forge.tree([(b"40000", b"%d" % number, level) for number in range(10)])
    forge.head(level)
    with pytest.raises(SourceFailed, match="over 5000 paths"):
        list(read())


def test_a_name_without_end_is_refused(forge, read, monkeypatch):
    monkeypatch.setattr(process, "MAX_FIELD_BYTES", 100_000)
    forge.head(forge.tree([(b"100644", b"x" * 1_000_000, forge.blob(b"text"))]))
    with pytest.raises(SourceFailed, match="no honest repository"):
        list(read())


def test_trees_deeper_than_any_stack_end_in_one_line(forge, read):
    level = forge.tree([(b"100644", b"a.txt", forge.blob(b"deep"))])
    for _ in range(6000):
        level = forge.tree([(b"40000", b"d", level)])
    forge.head(level)
    try:
        assert list(read()) == [] and read.context.outlet.counts == {"odd-path": 1}
    except SourceFailed as error:  # as git was built
        assert "\n" not in str(error)


@pytest.mark.parametrize("moment", ["99999999999999", "999999999999", "-5"])
def test_a_time_that_no_calendar_has_is_null(repository, forge, read, moment):
    tree = forge.tree([(b"100644", b"a.txt", forge.blob(b"text"))])
    body = f"tree {tree}\nauthor x <x> {moment} +0000\ncommitter x <x> {moment} +0000\n\nx\n"
    repository.git("update-ref", "HEAD", forge.put("commit", body.encode()))
    (document,) = read()
    assert document["published"] is None or document["published"] <= "1970-01-01T00:00:00Z"


def test_nothing_in_a_repositorys_configuration_is_run(repository, read, tmp_path):
    repository.write("a.txt", "text\n")
    repository.write("b.txt", "text b\n")
    repository.write(".gitattributes", "*.txt diff=evil filter=evil linguist-generated=false\n")
    repository.commit("2020-01-01T00:00:00Z")
    cursor = {}
    list(read(cursor))
    repository.write("a.txt", "text, edited\n")
    repository.commit("2021-01-01T00:00:00Z")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\ncat\n")
    trap.chmod(0o755)
    for hook in ("post-checkout", "reference-transaction", "post-index-change", "pre-auto-gc"):
        (repository.path / ".git" / "hooks" / hook).write_text(trap.read_text())
        (repository.path / ".git" / "hooks" / hook).chmod(0o755)
    for name in (
        "core.fsmonitor",
        "core.pager",
        "core.sshCommand",
        "core.alternateRefsCommand",
        "diff.external",
        "diff.evil.textconv",
        "diff.evil.command",
        "filter.evil.smudge",
        "filter.evil.process",
        "gpg.program",
        "core.editor",
        "core.askPass",
        "remote.origin.uploadpack",
        "remote.origin.vcs",
        "credential.helper",
        "uploadpack.packObjectsHook",
    ):
        repository.git("config", name, str(trap))
    for name, value in (
        ("log.showSignature", "true"),
        ("protocol.allow", "always"),
        ("protocol.ext.allow", "always"),
        ("alias.log", f"!{trap}"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", f"ext::{trap}"),
        ("remote.origin.promisor", "true"),
        ("core.hooksPath", str(repository.path / ".git" / "hooks")),
        ("core.worktree", "/"),
        ("diff.orderFile", "/dev/stdin"),
        ("core.attributesFile", "/dev/stdin"),
    ):
        repository.git("config", name, value)
    assert [document["title"] for document in read(cursor)] == ["a.txt"]
    for path in ("a.txt", "b.txt"):  # a partial clone would fetch them now
        blob = repository.git("--git-dir=.git", "--work-tree=.", "rev-parse", f"HEAD:{path}").strip()
        os.unlink(repository.path / ".git" / "objects" / blob[:2] / blob[2:])
    assert [document["title"] for document in read()] == [".gitattributes"]
    assert read.context.outlet.counts == {"absent": 2}
    assert not (tmp_path / "sprung").exists()


def test_a_promised_object_is_not_fetched_from_a_path_either(repository, read, tmp_path):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    trap = tmp_path / "trap"
    trap.write_text(f"#!/bin/sh\ntouch {tmp_path}/sprung\n")
    trap.chmod(0o755)
    for name, value in (
        ("extensions.partialClone", "origin"),
        ("remote.origin.url", f"file://{tmp_path}"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", str(trap)),
    ):
        repository.git("config", name, value)
    blob = repository.git("rev-parse", "HEAD:a.txt").strip()
    os.unlink(repository.path / ".git" / "objects" / blob[:2] / blob[2:])
    assert list(read(path=f"file://{repository.path}")) == []
    assert not (tmp_path / "sprung").exists()


def test_variables_of_a_surrounding_git_process_are_not_obeyed(repository, read, tmp_path, monkeypatch):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    for name in ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY", "GIT_NAMESPACE"):
        monkeypatch.setenv(name, str(tmp_path / "elsewhere"))
    monkeypatch.setenv("GIT_EXTERNAL_DIFF", "false")
    assert [document["title"] for document in read()] == ["a.txt"]


def test_a_repository_that_somebody_else_owns_is_read(repository, read):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    if os.geteuid() == 0:
        os.chown(repository.path, 12345, 12345)
        os.chown(repository.path / ".git", 12345, 12345)
    assert [document["title"] for document in read()] == ["a.txt"]


def test_credentials_of_a_remote_are_never_shown(repository, read):
    repository.write("a.txt", "text\n")
    repository.commit("2020-01-01T00:00:00Z")
    repository.git("remote", "add", "origin", "https://me:hunter2@example.org/o\x1b[31m/r.git")
    (document,) = read()
    assert "hunter2" not in str(document) and "\x1b" not in document["origin"]
