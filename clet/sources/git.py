"""Documents from a git repository: the text files of its default commit, and later only what changed since.

A path is read in place; a URL (https, ssh, file) is fetched into a bare repository in the cache and read there. Files
that a program wrote, that were copied in, or that are no text are passed over by `selection.py`. `published` is the
commit time of the file's last change. Cursor: the commit read last; it moves on once every document was handed over.
Deleted paths are counted in the cursor, moved ones (same blob) are not repeated, changed ones name the record that
they supersede. Memory: a path and a time a file, and one blob; time: one pass over tree and history.
"""

from __future__ import annotations

import hashlib
import os
import re
import urllib.parse
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from clet.record import canonical_text, make_record, raw_hash, record_id
from clet.sources import git_plumbing as plumbing
from clet.sources.adapter import Context, Document, SourceFailed
from clet.sources.addresses import checked_addresses
from clet.sources.decode import NotText, decode_text, one_line
from clet.sources.extract import looks_like_html, page_text
from clet.sources.git_plumbing import Blobs, Change
from clet.sources.language import detect_language
from clet.sources.licenses import LICENSE_NAME, MAX_LICENSE_BYTES, spdx_of
from clet.sources.selection import MAX_SOURCE_BYTES, skip_content, skip_name
from clet.sources.table import is_ssh_shorthand, is_url, without_credentials

MAX_COMMITS = 100_000  # of history read for times of change
_REF = "refs/clet/head"
_PROSE = re.compile(r"\.(?:txt|md|markdown|mdx|rst|adoc|org|tex|html?)\Z|(?:^|/)[^./]+\Z", re.IGNORECASE)
_FORGES = {"github.com": "blob", "gitlab.com": "-/blob", "codeberg.org": "src/commit", "bitbucket.org": "src"}
_PORTS = {"https": 443, "ssh": 22}


def read(locator: str, context: Context) -> Iterator[Document]:
    """Documents that are new or changed since the cursor's commit."""
    directory, remote = _repository(locator, context)
    ref = _REF if is_url(locator) or is_ssh_shorthand(locator) else "HEAD"
    commit = plumbing.run(
        directory, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{ref}^{{commit}}", check=False
    )
    if not commit:
        raise SourceFailed("has no commit yet" if ref == "HEAD" else "the remote has no HEAD")
    cursor = context.cursor
    if cursor.get("commit") == commit:
        return
    changes, deleted = _changes(directory, cursor.get("commit"), commit, context)
    with Blobs(directory) as blobs:
        license_name = _license(directory, commit, blobs)
        times = _times(directory, commit, {change.path for change in changes})
        for change in changes:
            document = _document(change, commit, blobs, context)
            if document is not None:
                document["origin"], document["license"] = remote, license_name
                document["url"] = _url(remote, commit, document["meta"]["path"])
                document["published"] = times(change.path)
                yield document
    cursor["commit"] = commit
    cursor["deleted"] = cursor.get("deleted", 0) + deleted


# ---- the repository


def _repository(locator: str, context: Context) -> tuple[Path, str]:
    """(where to read, what to call it)."""
    if is_url(locator) or is_ssh_shorthand(locator):
        return _fetch(locator, context), without_credentials(locator)
    directory = Path(os.path.abspath(locator))
    if not os.path.isdir(directory):
        raise SourceFailed("no such folder", unreachable=True)
    if plumbing.run(directory, "rev-parse", "--git-dir", check=False) is None:
        raise SourceFailed("not a git repository")
    remote = plumbing.run(directory, "config", "--get", "remote.origin.url", check=False)
    return directory, one_line(without_credentials(remote)) if remote else directory.name


def _fetch(locator: str, context: Context) -> Path:
    """Bring the remote's HEAD into a bare repository of the cache; killed at any point, the next call goes on."""
    transport, settings = _transport(locator, context)
    directory = context.cache / "git" / f"{hashlib.sha256(locator.encode()).hexdigest()[:24]}.git"
    try:
        directory.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceFailed(f"{directory}: {error.strerror}") from None
    plumbing.run(directory, "init", "--quiet", "--bare", "--template=")
    context.idle()
    plumbing.run(
        directory, "fetch", "--quiet", "--no-tags", "--force", "--no-write-fetch-head", "--no-recurse-submodules",
        "--", locator, f"+HEAD:{_REF}",
        settings=settings, transport=transport, timeout_s=plumbing.FETCH_TIMEOUT_S, interruption=context.interruption,
    )  # fmt: skip
    return directory


def _transport(locator: str, context: Context) -> tuple[str, list[str]]:
    """(the one transport to allow, settings that hold git to a checked address).

    Raises SourceFailed for a scheme or an address that is refused.
    """
    if is_ssh_shorthand(locator):
        locator = "ssh://" + locator.replace(":", "/", 1)
    url = urllib.parse.urlsplit(locator)
    if url.scheme == "file":
        return "file", []
    if url.scheme not in _PORTS:
        raise SourceFailed(f"{url.scheme}: is not fetched; use https, ssh, file or a path")
    if not url.hostname or url.hostname.startswith("-"):
        raise SourceFailed("the URL names no host")
    try:
        port = url.port or _PORTS[url.scheme]
    except ValueError:
        raise SourceFailed("the URL's port is no number") from None
    address = checked_addresses(url.hostname, port, context.allow_private)[0]
    shown = f"[{address}]" if ":" in address else address
    return url.scheme, [
        f"http.curloptResolve={url.hostname}:{port}:{shown}",
        "http.followRedirects=false",
        "http.lowSpeedLimit=1000",
        "http.lowSpeedTime=60",
    ]


# ---- what to read


def _changes(directory: Path, old: str | None, new: str, context: Context) -> tuple[list[Change], int]:
    """(paths to read in git's order, how many were deleted)."""
    if old and plumbing.run(directory, "cat-file", "-e", f"{old}^{{commit}}", check=False) is None:
        context.report.count("history-rewritten")
        old = None
    found = list(plumbing.difference(directory, old, new)) if old else plumbing.tree(directory, new)
    kept, gone = [], []
    for change in found:
        if change.blob is None:
            gone.append(change)
        elif change.mode not in (b"100644", b"100755"):
            context.report.count("link")
        elif reason := skip_name(_text_path(change.path)):
            context.report.count(reason)
        else:
            kept.append(change)
    moved = {change.old_blob for change in gone}
    fresh = [change for change in kept if change.old_blob is not None or change.blob not in moved]
    if len(fresh) < len(kept):
        context.report.count("moved", len(kept) - len(fresh))
    return fresh, len(gone) - (len(kept) - len(fresh))


def _document(change: Change, commit: str, blobs: Blobs, context: Context) -> Document | None:
    path = _text_path(change.path)
    body = blobs.read(change.blob, MAX_SOURCE_BYTES)
    if body is None:
        context.report.count("large")
        return None
    try:
        text = _text(body)
    except NotText:
        context.report.count("binary")
        return None
    if reason := skip_content(path, text):
        context.report.count(reason)
        return None
    meta = {"path": path, "commit": commit, "blob": change.blob}
    document = make_record(
        source="git",
        origin="",
        text=text,
        fetched=context.now,
        title=one_line(path),
        lang=detect_language(text) if _PROSE.search(path) else None,
        raw=raw_hash(body),
        meta=meta,
    )
    if (
        change.old_blob
        and change.old_mode.startswith(b"100")
        and (old := blobs.read(change.old_blob, MAX_SOURCE_BYTES))
    ):
        try:
            former = record_id(canonical_text(_text(old)))
        except NotText:
            former = None
        if former == document["id"]:  # the mode changed, or white space at an end
            return None
        if former:
            meta["supersedes"] = former
    return document


def _text(body: bytes) -> str:
    text = decode_text(body)
    return page_text(decode_text(body, markup=True)) if looks_like_html(text) else text


def _text_path(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


# ---- what is known about it


def _times(directory: Path, commit: str, paths: set[bytes]):
    """A function from a path to its time of publication, RFC 3339."""
    head = int(plumbing.run(directory, "log", "-1", "--format=%ct", commit))
    shallow = plumbing.run(directory, "rev-parse", "--is-shallow-repository") == "true"
    times = {} if shallow or not paths else plumbing.change_times(directory, commit, paths, MAX_COMMITS)

    def published(path: bytes) -> str:
        return datetime.fromtimestamp(times.get(path, head), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")

    return published


def _license(directory: Path, commit: str, blobs: Blobs) -> str | None:
    for entry in plumbing.fields(directory, "ls-tree", "-z", "--full-tree", commit):
        head, _, path = entry.partition(b"\t")
        mode, kind, blob = head.split(b" ")
        if kind == b"blob" and mode.startswith(b"100") and LICENSE_NAME.match(_text_path(path)):
            body = blobs.read(blob.decode(), MAX_LICENSE_BYTES)
            if body and (name := spdx_of(body.decode("utf-8", "replace"))):
                return name
    return None


def _url(remote: str, commit: str, path: str) -> str | None:
    """The page of a file on a forge whose addresses are known."""
    match = re.match(r"(?:https://|ssh://(?:[\w.-]+@)?|[\w.-]+@)([\w.-]+)[:/]([\w./~-]+?)(?:\.git)?/?\Z", remote)
    if not match or match[1] not in _FORGES:
        return None
    return f"https://{match[1]}/{match[2]}/{_FORGES[match[1]]}/{commit}/{urllib.parse.quote(path)}"
