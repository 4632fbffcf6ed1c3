"""Documents from a git repository: the text files of its HEAD, and later only what changed since.

A path is read in place (`local.py`); a URL is fetched into the cache and read there (`remote.py`). Files that a
program wrote, that were copied in, or that are no text are passed over (`selection.py`). Changed files name the
record that they supersede, deleted ones are told as deletions, moved ones (same blob) are not repeated. Secrets are
masked always.

Cursor: `commit`, the one that was read to its end, and while another is being read, `reading`: that commit and how
many of its changes were dealt with. git lists them in the same order every time, so a run that was cut short goes on
where it stopped, even if HEAD has moved on meanwhile; then what is newer follows. A commit that is gone (its history
was rewritten) means a whole reading; documents that come again have the same ids.

Memory: 16 bytes a path for the times of change, 85 bytes a deleted file, and one blob. Time: one pass over tree and
history before the first document.
"""

from __future__ import annotations

import re
import urllib.parse
from array import array
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from clet.record import canonical_text, raw_hash, record_id
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.git.environment import Repository
from clet.sources.git.history import ChangeTimes, path_key
from clet.sources.git.local import open_path
from clet.sources.git.objects import WINDOW, Blobs, Change, commit_of, difference, top_level, tree
from clet.sources.git.remote import open_url
from clet.sources.git.selection import Selection, path_text
from clet.sources.licenses import (
    LICENSE_NAME,
    MAX_LICENSE_BYTES,
    MAX_LICENSE_FILES,
    spdx_expression,
    spdx_of_files,
    spdx_tag,
)
from clet.sources.selection import MAX_SOURCE_BYTES, skip_content
from clet.sources.table import is_ssh_shorthand, is_url
from clet.sources.text.decode import NotText, decode_text, one_line
from clet.sources.text.extract import looks_like_html, page_text
from clet.sources.text.language import detect_language

MAX_PATHS = 5_000_000  # a few kilobytes of trees, shared cleverly, name more than can ever be listed
_MASKED = frozenset({"secrets"})
_LFS = b"version https://git-lfs.github.com/spec/"  # stands for a file that is elsewhere
_PROSE = re.compile(r"\.(?:txt|md|markdown|mdx|rst|adoc|org|tex|html?)\Z|(?:^|/)[^./]+\Z", re.IGNORECASE)
_FORGES = {"github.com": "blob", "gitlab.com": "-/blob", "codeberg.org": "src/commit", "bitbucket.org": "src"}
_FORGE_URL = re.compile(r"(?:https://|ssh://(?:[\w.-]+@)?|[\w.-]+@)([\w.-]+)[:/]([\w./~-]+?)(?:\.git)?/?\Z", re.ASCII)
_KINDS = {b"120000": "link", b"160000": "submodule"}


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents that are new or changed since the cursor's commit, and deletions."""
    remote = (is_url(locator) and not locator.startswith("file://")) or is_ssh_shorthand(locator)
    if remote:
        repository, head, origin = open_url(locator, context)
    else:
        repository, head, origin = open_path(_path_of(locator), context)
    if commit_of(repository, head, context.interruption) is None:
        raise SourceFailed("the commit of HEAD is missing; is the repository whole? git fsck tells")
    for base, commit, done in _steps(repository, head, context):
        context.idle()
        yield from _read_step(repository, _Step(origin, base, commit), done, context)
        context.cursor["commit"] = commit
        del context.cursor["reading"]


def _path_of(locator: str) -> str:
    """A file: URL is read in place, too: to copy it, git would serve it first, as its configuration says."""
    if not locator.startswith("file://"):
        return locator
    url = urllib.parse.urlsplit(locator)
    if url.netloc not in ("", "localhost"):
        raise SourceFailed("a file: URL names a path of this machine; write file:///PATH")
    return urllib.parse.unquote(url.path)


@dataclass
class _Step:
    """From one commit (None: from nothing) to another."""

    origin: str
    base: str | None
    commit: str
    license: str | None = None
    times: ChangeTimes = field(default_factory=lambda: ChangeTimes(array("Q")))
    kept: frozenset[str] | set[str] = frozenset()  # blobs of deleted files that are there under another name

    def changes(self, repository: Repository, context: Context) -> Iterator[Change]:
        """What is to be read, in git's order."""
        if self.base is None:
            return tree(repository, self.commit, context.interruption)
        return difference(repository, self.base, self.commit, context.interruption)


def _steps(repository: Repository, head: str, context: Context) -> Iterator[tuple[str | None, str, int]]:
    """(base, commit, changes dealt with before) of each step from the cursor to `head`."""
    cursor = context.cursor
    base, begun = cursor.get("commit"), cursor.get("reading")
    if base is not None and commit_of(repository, base, context.interruption) is None:
        context.count("history-rewritten")
        base = begun = None
        cursor.pop("commit")
    if begun and commit_of(repository, begun["commit"], context.interruption):
        yield base, begun["commit"], begun["done"]
        base = cursor["commit"]
    if base == head:
        return
    cursor["reading"] = {"commit": head, "done": 0}
    yield base, head, 0


def _read_step(repository: Repository, step: _Step, done: int, context: Context) -> Iterator[Document]:
    with (
        Blobs(repository) as blobs,
        Selection(repository, step.commit, blobs, context.interruption) as selection,
    ):
        _survey(repository, step, selection, context)
        step.license = _license(repository, step.commit, blobs, context)
        rest = selection.judged(islice(step.changes(repository, context), done, None))
        while window := list(islice(rest, WINDOW // 2)):
            context.interruption.check()
            for document in _documents(window, step, blobs, context):
                done += 1
                context.cursor["reading"]["done"] = done
                if document is not None:
                    yield document


def _survey(repository: Repository, step: _Step, selection: Selection, context: Context) -> None:
    """What has to be known before the first change is dealt with. Raises SourceFailed where there are too many."""
    keys, gone = array("Q"), set()
    for number, (change, reason) in enumerate(selection.judged(step.changes(repository, context))):
        if number >= MAX_PATHS:
            raise SourceFailed(f"over {MAX_PATHS} paths")
        if reason is None and change.is_file:
            keys.append(path_key(change.path))
        elif reason is None and change.was_file:
            gone.add(change.old_blob)
    if gone:
        now = selection.judged(tree(repository, step.commit, context.interruption))
        step.kept = {change.blob for change, reason in now if reason is None and change.blob in gone}
    if keys:
        step.times = ChangeTimes(keys)
        step.times.read(repository, step.base, step.commit, context.interruption)


# ---- documents


def _documents(
    window: list[tuple[Change, str | None]], step: _Step, blobs: Blobs, context: Context
) -> Iterator[Document | None]:
    """For each change its document or deletion, or None."""
    wanted: list[tuple[bool, bool]] = []
    for change, reason in window:
        moved = not change.was_file and change.blob in step.kept
        if change.blob is not None and (what := reason or _KINDS.get(change.mode) or ("moved" if moved else None)):
            context.count(what)
        new = change.is_file and reason is None and not moved
        gone = not change.is_file and change.old_blob in step.kept
        wanted.append((new, change.was_file and reason is None and not gone))
    names = []
    for (change, _), (new, old) in zip(window, wanted, strict=True):
        names += [change.blob] * new + [change.old_blob] * old
    bodies = blobs.read(names, MAX_SOURCE_BYTES)
    for (change, _), (new, old) in zip(window, wanted, strict=True):
        document = _document(change, next(bodies), step, context) if new else None
        former = _former_id(change, next(bodies), context) if old else None
        if former is None:
            yield document
        elif document is None:
            yield _deletion(change, former, step, context)
        elif former == document["id"]:  # the mode changed, or white space at an end
            yield None
        else:
            document["meta"]["supersedes"] = former
            yield document


def _document(change: Change, body: bytes | str, step: _Step, context: Context) -> Document | None:
    path = path_text(change.path)
    if isinstance(body, str):
        context.count(body)
        if body == "damaged":
            context.bad(f"{path}: git cannot read object {change.blob}; git fsck tells more")
        return None
    text, reason = _text(path, body)
    if reason:
        context.count(reason)
        return None
    return context.document(
        origin=step.origin,
        url=_url(step.origin, step.commit, change.path),
        title=one_line(path),
        lang=detect_language(text) if _PROSE.search(path) else None,
        published=step.times.of(change.path),
        raw=raw_hash(body),
        license=spdx_tag(text) or step.license,
        meta={"path": path, "commit": step.commit, "blob": change.blob},
        text=text,
        scrub=_MASKED,
    )


def _former_id(change: Change, body: bytes | str, context: Context) -> str | None:
    """The id that the record of a file had before the change, if it had one."""
    text, reason = _text(path_text(change.path), body) if isinstance(body, bytes) else ("", body)
    if reason:
        return None
    return record_id(canonical_text(context.scrubber.scrub(text, context.options.scrub | _MASKED)[0]))


def _deletion(change: Change, former: str, step: _Step, context: Context) -> Document:
    meta: dict[str, Any] = {"path": path_text(change.path), "commit": step.commit, "blob": change.old_blob}
    url = _url(step.origin, step.base, change.path)
    return context.deletion(origin=step.origin, deletes=former, url=url, meta=meta)


def _text(path: str, body: bytes) -> tuple[str, str | None]:
    """(the text of a file, None), or why it is passed over."""
    if body.startswith(_LFS):
        return "", "lfs"
    try:
        text = decode_text(body)
    except NotText:
        return "", "binary"
    if reason := skip_content(path, text):
        return "", reason
    if looks_like_html(text):
        text = page_text(decode_text(body, markup=True))
    return (text, None) if text and not text.isspace() else ("", "blank")


# ---- what is known about it


def _license(repository: Repository, commit: str, blobs: Blobs, context: Context) -> str | None:
    """The licence of the repository: by the licence files at its root, else by the one in its folder LICENSES."""
    files: list[tuple[str, str]] = []
    named: list[str] = []
    for entry in top_level(repository, commit, context.interruption):
        name = path_text(entry.path)
        if entry.is_file and LICENSE_NAME.match(name) and len(files) < MAX_LICENSE_FILES:
            if body := blobs.read_one(entry.blob, MAX_LICENSE_BYTES):
                files.append((name, body.decode("utf-8", "replace")))
        elif entry.mode == b"040000" and name == "LICENSES":
            inside = top_level(repository, entry.blob, context.interruption)
            named = [path_text(each.path) for each in islice(inside, MAX_LICENSE_FILES) if each.is_file]
    if found := spdx_of_files(files):
        return found
    names = {spdx_expression(name.removesuffix(".txt")) for name in named} - {None}
    return names.pop() if len(names) == 1 else None


def _url(origin: str, commit: str, path: bytes) -> str | None:
    """The page of a file on a forge whose addresses are known."""
    match = _FORGE_URL.match(origin)
    if not match or match[1] not in _FORGES:
        return None
    return f"https://{match[1]}/{match[2]}/{_FORGES[match[1]]}/{commit}/{urllib.parse.quote(path)}"
