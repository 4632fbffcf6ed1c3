"""A repository at a URL, brought into a bare one in the cache: whole the first time, then what is new.

The connection goes to an address that was checked, redirects are refused, and one transport is allowed. Blobs that
nobody would read stay away where the server can leave them out (a partial clone, `blob:limit`). A clone that passes
MAX_CLONE_BYTES on disk, or takes longer than FETCH_TIMEOUT_S, is ended. Killed at any point, the next call goes on:
what a dead fetch left is removed under a lock. git 2.37 or later pins the address; ssh resolves the name once more.
"""

from __future__ import annotations

import base64
import fcntl
import hashlib
import ipaddress
import os
import re
import time
import urllib.parse
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from clet.sources.adapter import Context, SourceFailed
from clet.sources.git.environment import Repository, Settings
from clet.sources.git.local import OBJECT_FORMATS, make
from clet.sources.git.process import answer_or_none, run
from clet.sources.selection import MAX_SOURCE_BYTES
from clet.sources.table import is_ssh_shorthand, without_credentials
from clet.sources.web.addresses import checked_addresses, is_public

FETCH_TIMEOUT_S = 7200.0
ASK_TIMEOUT_S = 120.0
MAX_CLONE_BYTES = 20 << 30
WEIGH_S = 1.0  # between two looks at how much a clone has grown
LOCK_POLL_S = 0.5

_REF = "refs/clet/head"
_PORTS = {"https": 443, "http": 80, "ssh": 22}
_HOST = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9._-]{0,252}[A-Za-z0-9])?\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+-]{0,63}\Z")
_PATH = re.compile(r"[^\s\x00-\x1f\x7f-\x9f]{0,2000}\Z")
_SPACE = re.compile(r"[\s\x00-\x1f\x7f-\x9f]")  # urlsplit would drop some of them silently
_SHORTHAND = re.compile(r"([^@/]+)@([^@/:]+):(?!-)(.+)\Z")


@dataclass(frozen=True)
class Remote:
    """A checked URL: what git is given, over which transport, with which settings (secrets among them)."""

    url: str
    transport: str
    settings: Settings


def open_url(locator: str, context: Context) -> tuple[Repository, str, str]:
    """(the repository, the commit that the remote's HEAD names, what to call it). Raises SourceFailed."""
    remote = remote_of(locator, context)
    name = without_credentials(locator)
    folder = context.cache / "git"
    place = folder / f"{hashlib.sha256(name.encode('utf-8', 'surrogateescape')).hexdigest()[:24]}.git"
    context.idle()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if not (place / "HEAD").exists():
            make(place, _object_format(remote, folder, context), context)
        with _locked(place, context):
            _remove_leftovers(place)
            _fetch(place, remote, context)
    except OSError as error:
        raise SourceFailed(f"{place}: {error.strerror}") from None
    repository = Repository(place)
    head = answer_or_none(repository, "rev-parse", "--verify", "--quiet", _REF, interruption=context.interruption)
    if head is None:
        raise SourceFailed("the remote has no commit under HEAD")
    return repository, head, name


def remote_of(locator: str, context: Context) -> Remote:
    """The remote that a locator names. Raises SourceFailed for a scheme, host or address that is refused.

    git is given a URL that was put together again from what was checked, so that no two parsers can differ on it.
    """
    if is_ssh_shorthand(locator):
        match = _SHORTHAND.match(locator)
        if match is None:
            raise SourceFailed("write USER@HOST:PATH or an ssh:// URL")
        checked_addresses(_host(match[2]), _PORTS["ssh"], context.allow_private)
        return Remote(f"{_user(match[1])}@{_host(match[2])}:{_path(match[3])}", "ssh", ())
    if _SPACE.search(locator):
        raise SourceFailed("the URL has a space or a control character in it")
    try:
        url = urllib.parse.urlsplit(locator)
        port = url.port or _PORTS.get(url.scheme, 0)
    except ValueError:
        raise SourceFailed("the URL's host or port is malformed") from None
    if url.scheme not in _PORTS:
        raise SourceFailed(f"{url.scheme}: is not fetched; use https, ssh or a path")
    host = _host(url.hostname or "")
    address = checked_addresses(host.strip("[]"), port, context.allow_private)[0]
    authority = f"{host}:{url.port}" if url.port else host
    path = _path(url.path + (f"?{url.query}" if url.query else ""))
    if url.scheme == "ssh":
        user = f"{_user(urllib.parse.unquote(url.username))}@" if url.username else ""
        return Remote(f"ssh://{user}{authority}{path}", "ssh", ())
    if url.scheme == "http" and is_public(address):
        raise SourceFailed("http: is not fetched from the open internet; use https")
    settings = [("http.followRedirects", "false"), ("http.lowSpeedLimit", "1000"), ("http.lowSpeedTime", "60")]
    if not host.startswith("["):
        shown = f"[{address}]" if ":" in address else address
        settings.append(("http.curloptResolve", f"{host}:{port}:{shown}"))
    if url.username or url.password:
        pair = f"{urllib.parse.unquote(url.username or '')}:{urllib.parse.unquote(url.password or '')}"
        # Not in the URL: the helper that speaks HTTP has that on its command line.
        settings.append(("http.extraHeader", f"Authorization: Basic {base64.b64encode(pair.encode()).decode()}"))
    return Remote(f"{url.scheme}://{authority}{path}", url.scheme, settings)


def _host(name: str) -> str:
    """A host as it stands in a URL: a name in ASCII, or an address."""
    if ":" in name:
        try:
            return f"[{ipaddress.IPv6Address(name)}]"
        except ValueError:
            raise SourceFailed("the URL's host is malformed") from None
    try:
        plain = name.encode("idna").decode()
    except UnicodeError:
        plain = ""
    if not _HOST.match(plain):
        raise SourceFailed("the URL names no host")
    return plain


def _user(name: str) -> str:
    if not _USER.match(name):
        raise SourceFailed("the URL's user name is malformed")
    return name


def _path(path: str) -> str:
    if not _PATH.match(path):
        raise SourceFailed("the URL's path is too long or malformed")
    return path


# ---- the cache


def _object_format(remote: Remote, folder: Path, context: Context) -> str:
    """What the remote names its objects by. Raises SourceFailed where it has none."""
    with _explained():
        answer = run(
            Repository(folder, search=True), "ls-remote", "--quiet", remote.url, "HEAD",
            interruption=context.interruption, transport=remote.transport, settings=remote.settings,
            timeout_s=ASK_TIMEOUT_S,
        )  # fmt: skip
    if not answer:
        raise SourceFailed("the remote has no commit under HEAD")
    return OBJECT_FORMATS[len(answer.split()[0]) == 64]


@contextmanager
def _locked(place: Path, context: Context) -> Iterator[None]:
    """One fetch at a time into a folder; the lock is gone with the process."""
    with open(place / "clet.lock", "w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                context.sleep(LOCK_POLL_S)
        yield


def _remove_leftovers(place: Path) -> None:
    """Delete what a killed fetch left: half a pack, and git's own locks."""
    for folder, _, names in os.walk(place):
        for name in names:
            if name.startswith("tmp_") or (name.endswith(".lock") and name != "clet.lock"):
                (Path(folder) / name).unlink(missing_ok=True)


def _fetch(place: Path, remote: Remote, context: Context) -> None:
    """Bring HEAD over. The remote exists in the environment only, so nothing that reads later can fetch from it."""
    settings = [
        *remote.settings,
        ("remote.clet.url", remote.url),
        ("remote.clet.promisor", "true"),
        ("remote.clet.partialCloneFilter", f"blob:limit={MAX_SOURCE_BYTES + 1}"),
        ("fetch.unpackLimit", "1"),
        ("fetch.uriProtocols", ""),
        ("transfer.bundleURI", "false"),
    ]
    try:
        with _explained():
            run(
                Repository(place), "fetch", "--quiet", "--no-tags", "--force", "--no-write-fetch-head",
                "--no-recurse-submodules", "--no-auto-maintenance", "clet", f"+HEAD:{_REF}",
                interruption=context.interruption, transport=remote.transport, settings=settings,
                timeout_s=FETCH_TIMEOUT_S, watch=_scale(place),
            )  # fmt: skip
    except SourceFailed:
        _remove_leftovers(place)
        raise
    run(
        Repository(place), "gc", "--auto", "--quiet",
        interruption=context.interruption, timeout_s=FETCH_TIMEOUT_S,
        settings=[("gc.auto", "6700"), ("gc.autoDetach", "false"), ("remote.clet.promisor", "true")],
    )  # fmt: skip


@contextmanager
def _explained() -> Iterator[None]:
    """Say what to do about errors of git's that do not."""
    try:
        yield
    except SourceFailed as error:
        if re.search(r"error: 30\d|redirect", str(error)):
            hint = "redirects are not followed; name the address that it moved to"
        elif "remote ref HEAD" in str(error):
            hint = "the remote has no commit under HEAD"
        else:
            raise
        raise SourceFailed(f"{error}; {hint}", unreachable=True) from None


def _scale(place: Path) -> Callable[[], None]:
    """A watch that raises SourceFailed once a folder holds too much."""
    due = time.monotonic() + WEIGH_S

    def weigh() -> None:
        nonlocal due
        if time.monotonic() < due:
            return
        due = time.monotonic() + WEIGH_S
        total = 0
        for folder, _, names in os.walk(place):
            for name in names:
                try:
                    total += os.lstat(os.path.join(folder, name)).st_size
                except OSError:
                    continue  # renamed meanwhile
        if total > MAX_CLONE_BYTES:
            raise SourceFailed(f"the clone passes {MAX_CLONE_BYTES >> 30} GiB; clone it yourself and name the path")

    return weigh
