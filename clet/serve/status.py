"""The page at `/`: which release answers, since when, where it comes from, and what the server is doing.

Self-contained HTML without scripts or outside assets, reloaded by the browser every few seconds; everything that comes
from files or requests is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape
from typing import Any

from clet.exits import CletError
from clet.record import format_time
from clet.release import TIERS, read_release, release_numbers, tier_number
from clet.serve.swap import Deck

RELOAD_S = 3
NUM_RELEASES = 12  # newest ones shown; each costs reading its release.json

STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.3rem; } h2 { font-size: 1rem; margin-top: 2rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; padding: .25rem .75rem .25rem 0; border-bottom: 1px solid #8884; vertical-align: top; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; }
tr.now { font-weight: 600; }
code { font-family: ui-monospace, monospace; }
p.note { opacity: .75; }
"""


def render_status(deck: Deck) -> str:
    """The page. Reads the newest release.json files; callable from any thread."""
    engine, draining, metrics = deck.current, deck.draining, deck.metrics
    served = engine.served
    config = served.model.config
    now = [
        ("release", served.release),
        ("mark in answers", served.mark),
        ("parent", _fact(served.facts, "parent")),
        ("knowledge watermark", _fact(served.facts, "watermark")),
        ("serving since", format_time(deck.since)),
        ("model", f"{config.architecture}, {config.num_parameters():,} parameters, {engine.limits.max_len:,} tokens"),
        ("names", ", ".join(deck.source.names)),
    ]
    if draining is not None:
        left = draining.num_running + draining.num_waiting
        now.append(("finishing", f"release {draining.served.release}: {left} answers left"))
    work = [
        ("running", f"{engine.num_running} of {engine.limits.max_batch}"),
        ("waiting", engine.num_waiting),
        ("tokens/s, last 10 s", f"{metrics.tokens_per_s():.1f}"),
        ("prompt tokens read", f"{metrics.prompt_tokens:,}"),
        ("tokens generated", f"{metrics.answer_tokens:,}"),
        ("requests", f"{sum(metrics.requests.values()):,}"),
        ("swaps / refused releases", f"{metrics.swaps} / {metrics.refused_releases}"),
    ]
    title = f"clet: {deck.source.names[0]} is release {served.release}"
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta http-equiv="refresh" content="{RELOAD_S}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title><style>{STYLE}</style></head><body>",
            f"<h1>{escape(title)}</h1>{_pairs(now)}",
            f"<h2>Work</h2>{_pairs(work)}",
            f"<h2>Releases</h2>{_releases(deck)}",
            '<p class="note">API: <code>/v1/completions</code>, <code>/v1/chat/completions</code>, '
            "<code>/v1/models</code>; counters: <code>/metrics</code></p></body></html>",
        ]
    )


def _releases(deck: Deck) -> str:
    source = deck.source
    if source.tier is None:
        return f"<p>A model directory, <code>{escape(str(source.path))}</code>, without releases.</p>"
    tiers = {tier: tier_number(source.path, tier) for tier in TIERS}
    rows, current = [], deck.current.served.release
    for number in reversed(release_numbers(source.path)[-NUM_RELEASES:]):
        try:
            facts = read_release(source.path, number).facts
        except CletError as error:
            facts = {"created": str(error)}
        pointing = ", ".join(tier for tier, target in tiers.items() if target == number)
        cells = [number, _fact(facts, "parent"), _fact(facts, "created"), _fact(facts, "watermark"), pointing]
        rows.append((cells, str(number) == current))
    head = "".join(f"<th>{name}</th>" for name in ("release", "parent", "made", "knowledge watermark", "links"))
    return f"<table><tr>{head}</tr>{''.join(_row(cells, now) for cells, now in rows)}</table>"


def _row(cells: Sequence[object], is_current: bool) -> str:
    shown = "".join(f"<td>{escape(str(cell))}</td>" for cell in cells)
    return f'<tr class="now">{shown}</tr>' if is_current else f"<tr>{shown}</tr>"


def _pairs(pairs: Iterable[tuple[str, object]]) -> str:
    rows = (f"<tr><th>{escape(name)}</th><td>{escape(str(value))}</td></tr>" for name, value in pairs)
    return f"<table>{''.join(rows)}</table>"


def _fact(facts: dict[str, Any], name: str) -> str:
    value = facts.get(name)
    return "-" if value is None else str(value)[:200]
