"""clet audit: the documents behind a release, and proof."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from clet.exits import InputError, NothingToDo, UsageError
from clet.log import Counts, log


def main(
    path: Annotated[
        str, typer.Argument(metavar="RUN|CHECKPOINT", help="A run, or the directory of a release.", show_default=False)
    ],
    *,
    tier: Annotated[
        str, typer.Option("--tier", metavar="NAME", help="Of a run: live, realtime, static or a number.")
    ] = "live",
    document: Annotated[
        str | None, typer.Option("--document", metavar="ID", help="Trace this document only.", show_default=False)
    ] = None,
    source: Annotated[
        str | None,
        typer.Option("--source", metavar="S", help="Only documents of this source or origin.", show_default=False),
    ] = None,
    verify: Annotated[
        bool, typer.Option("--verify", help="Recompute what release.json says; 65 where something differs.")
    ] = False,
    trust: Annotated[
        str | None,
        typer.Option(
            "--trust", metavar="KEY", help="With --verify: the public key it has to be signed with.", show_default=False
        ),
    ] = None,
) -> int:
    """Print the documents that a release learned from, one JSON object each, or verify its claims.

    For every document: where it came from, in which shard and windows it lay, at which steps it was learned, how
    often, and how often by replay.
    """
    if verify and (document is not None or source is not None):
        raise UsageError("--verify checks the whole release; leave out --document and --source")

    if trust is not None and not verify:
        raise UsageError("--trust needs --verify")

    from clet.signing import read_public
    from clet.train import provenance

    trusted = read_public(trust) if trust else None
    run, release = provenance.find_audited(path, tier)
    if verify:
        return _verify(provenance, run, release, trusted)
    import orjson

    from clet.sinks import Sink

    sink, counts = Sink("-"), Counts(extra={"release": release.number})
    for found in provenance.documents_behind(run, release):
        counts.records_in += 1
        if document not in (None, found["id"]) or source not in (None, found["source"], found["origin"]):
            continue
        counts.records_out += 1
        sink.write(orjson.dumps(found) + b"\n")
    if document is not None and not counts.records_out:
        raise NothingToDo(f"release {release.number} learned nothing from document {document}")
    sink.close()
    log.summary(counts)
    return 0


def _verify(provenance: Any, run: Any, release: Any, trust: str | None) -> int:
    wrong = provenance.verify(run, release, trust)
    for message in wrong[1:]:
        log.error(message, event="mismatch")
    if wrong:
        raise InputError(wrong[0])
    from clet.release import LINKS

    facts = release.facts
    log.info(
        f"release {release.number}: {facts['documents']} documents have lineage root {facts['lineage_root'][:16]}, "
        f"weights {facts['weights'][:16]}: recomputed with all else that can be, and right; "
        + (f"signed by {facts['signer']}" if facts.get("signer") else f"not signed, the rest as noted in {LINKS}"),
        event="verified",
    )
    return 0
