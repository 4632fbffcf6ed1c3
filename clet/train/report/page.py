"""The page: one self-contained HTML file that a person reads who slept while the run learned.

First in words what happened, then the curves, then releases and trips as tables. It has no script and loads nothing
(its Content-Security-Policy says so), so it can be mailed, archived and opened anywhere; it follows the reader's light
or dark mode. Everything that came from outside is escaped. Whatever the run's length it stays below a megabyte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from clet.train.report.gather import EDGE, MAX_NOTES, History
from clet.train.report.svg import COLOURS, Curve, Mark, chart, escape, number
from clet.train.series import Series

MAX_ROWS = 50
MAX_MARKS = 200
NAME_CHARS = 60

_LIGHT = ("#1f5fbf", "#c2410c", "#15803d", "#7e22ce", "#a16207", "#0e7490", "#be185d", "#525252")
_DARK = ("#7ab0ff", "#ff9e64", "#7ddc8f", "#c9a0ff", "#e5c15a", "#5fd0e0", "#ff8fc0", "#b5b5b5")


def _colours(values: Sequence[str]) -> str:
    return "".join(f"--c{i}:{value};" for i, value in enumerate(values))


def _style() -> str:
    curves = "".join(
        f".c{i} polyline{{stroke:var(--c{i})}}.c{i} circle,.c{i} polygon{{fill:var(--c{i})}}"
        f"b.c{i}{{background:var(--c{i})}}"
        for i in range(COLOURS)
    )
    return f"""
:root{{color-scheme:light dark;--bg:#fff;--fg:#1c1c1c;--dim:#666;--line:#e2e2e2;--bad:#c00;--mark:#888;
{_colours(_LIGHT)}}}
@media(prefers-color-scheme:dark){{:root{{--bg:#16181c;--fg:#e6e6e6;--dim:#9a9a9a;--line:#2c3036;--bad:#ff6b6b;
--mark:#777;{_colours(_DARK)}}}}}
body{{background:var(--bg);color:var(--fg);font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;
padding:0 1rem}}
h1{{font-size:1.5rem}}h2{{font-size:1.1rem;margin:2rem 0 .3rem}}p.what{{color:var(--dim);margin:.2rem 0}}
svg{{width:100%;height:auto;display:block}}svg text{{font-size:11px;fill:var(--dim)}}.yt{{text-anchor:end}}
.xt{{text-anchor:middle}}.grid{{stroke:var(--line)}}polyline{{fill:none;stroke-width:1.6}}
polygon{{opacity:.18;stroke:none}}.trip line{{stroke:var(--bad);stroke-width:1.5}}
.release line{{stroke:var(--mark);stroke-dasharray:4 3}}.rate line{{stroke:var(--mark);stroke-dasharray:1 3}}
table{{border-collapse:collapse;width:100%;font-size:13px}}th,td{{text-align:left;padding:.25rem .6rem .25rem 0;
border-bottom:1px solid var(--line);vertical-align:top;overflow-wrap:anywhere}}th{{color:var(--dim);font-weight:normal}}
td.n,th.n{{text-align:right}}b.key{{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.35em}}
ul.legend{{list-style:none;padding:0;margin:.3rem 0;display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:13px}}
.bad{{color:var(--bad)}}{curves}"""


POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"


def page(history: History) -> bytes:
    """The page of a run."""
    body = [*_summary(history), *_charts(history), *_releases(history), *_trips(history)]
    title = escape(f"Run {history.name}")
    return (
        '<!doctype html><html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">'
        '<meta name="viewport" content="width=device-width,initial-scale=1">'
        f"<title>{title}</title><style>{_style()}</style></head><body><h1>{title}</h1>{''.join(body)}</body></html>\n"
    ).encode("utf-8", "replace")


# ---- in words


def _summary(history: History) -> Iterator[str]:
    yield "<ul>"
    for sentence in _sentences(history):
        yield f"<li>{sentence}</li>"
    yield "</ul>"


def _sentences(history: History) -> Iterator[str]:
    totals = history.totals
    if not totals.steps:
        yield "No step has been made yet."
        return
    times = f", {escape(history.first_time)} to {escape(history.last_time)}" if history.first_time else ""
    yield f"Learned {totals.tokens:,.0f} tokens in {totals.steps:,} steps{times}."
    if history.first_losses:
        first, last = (sum(part) / len(part) for part in (history.first_losses, history.last_losses))
        yield f"The loss went from {first:.4f} to {last:.4f} (means of the first and the last {EDGE} steps)."
    yield from _released(history)
    if history.trips:
        held = [trip for trip in history.trips if trip["freed"] is None]
        windows = sum(len(indices) for trip in held for _, indices in trip["windows"])
        times = "once" if len(history.trips) == 1 else f"{len(history.trips)} times"
        yield f'<span class="bad">The breaker tripped {times}</span>; {windows} windows are in quarantine.'
    else:
        yield "The breaker has not tripped."
    for name, points in history.held_out.items():
        values = [value for _, value in points]
        if len(values) > 1 and values[-1] > 1.01 * min(values):
            worse = values[-1] / min(values) - 1
            yield f'<span class="bad">Held out: {_name(name)}</span> is {worse:.1%} above its best.'
    if totals.windows:
        yield f"{totals.replayed / totals.windows:.1%} of the windows were replayed."
    yield from _costs(history)
    if history.unreadable:
        yield f'<span class="bad">{history.unreadable} lines of steps.jsonl could not be read.</span>'


def _released(history: History) -> Iterator[str]:
    if not history.releases:
        yield "Nothing was released yet."
        return
    links = [f"{tier} is release {at}" for tier, at in history.tiers.items() if at is not None]
    newest = next((made for made in reversed(history.releases) if "damaged" not in made), {})
    known = f"; the newest knows what was published by {escape(newest['watermark'])}" if newest.get("watermark") else ""
    made = "One release was" if len(history.releases) == 1 else f"{len(history.releases)} releases were"
    yield f"{made} made{known}. {', '.join(links).capitalize() or 'No link points to one'}."


def _costs(history: History) -> Iterator[str]:
    totals = history.totals
    if totals.seconds:
        speed, share = totals.tokens / totals.seconds, totals.wait_s / totals.seconds
        yield (
            f"{speed:,.0f} tokens a second of steps; {share:.2%} of {_duration(totals.seconds)} was waiting for data; "
            f"{_duration(totals.device_s)} of device time."
        )
    if totals.flops:
        rate = f", {number(totals.flops / totals.seconds)} a second" if totals.seconds else ""
        yield f"{number(totals.flops)} floating-point operations{rate}."
    for origin, joules in totals.joules.items():
        yield f"{number(joules)} J of energy, {joules / 3.6e6:.4g} kWh ({escape(origin)})."
    if not totals.joules:
        yield "Energy is unknown: no counter could be read, and --watts was not given."


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min {rest:02d} s"


# ---- in curves


def _charts(history: History) -> Iterator[str]:
    marks = _marks(history)
    curves = history.curves

    def one(name: str, label: str, **how: Any) -> list[Curve]:
        series = curves.get(name, Series())
        return [Curve(label, series.buckets, **how)]

    def draw(title: str, curves: Sequence[Curve], marks: Sequence[Mark] = (), **how: Any) -> str:
        return chart(title, curves, marks, steps=(history.first_step, history.last_step), **how)

    yield from _section(
        "Loss",
        "nats a token, with the least and the greatest of each stretch; red: breaker, dashed: release",
        draw("Loss", one("loss", "loss", band=True), marks),
    )
    largest = sorted(history.origins.items(), key=lambda item: -item[1].windows)[:COLOURS]
    sources = [Curve(name or "(no origin)", origin.loss.buckets) for name, origin in largest]
    what = "means of windows, by their documents' share; the largest origins"
    yield from _section("Loss by origin", what, draw("Loss by origin", sources), sources)
    rate_marks = [Mark(step, "rate", text) for step, text in history.rate_notes]
    yield from _section(
        "Learning rate, and why", "dotted: what it follows from there", draw("Rate", one("lr", "rate"), rate_marks)
    )
    if history.rate_notes:
        yield "<table><tr><th class=n>from step</th><th>schedule and phase</th></tr>"
        for step, text in history.rate_notes[:MAX_ROWS]:
            yield f"<tr><td class=n>{step:,}</td><td>{escape(text)}</td></tr>"
        yield "</table>"
        if len(history.rate_notes) > MAX_ROWS:
            more = "at least " * (len(history.rate_notes) == MAX_NOTES)
            yield f"<p class=what>and {more}{len(history.rate_notes) - MAX_ROWS} more changes</p>"
    held = [Curve(name, _points(points), dots=True) for name, points in history.held_out.items()]
    what = "perplexity at each release; rising again is forgetting"
    yield from _section("Held-out text", what, draw("Held-out perplexity", held), held)
    yield from _section(
        "Gradient", "norm before clipping", draw("Gradient", one("grad_norm", "norm", band=True), marks)
    )
    yield from _section("Speed", "tokens a second of steps", draw("Speed", one("speed", "speed"), from_zero=True))
    yield from _section("Wait", "percent of the steps' time", draw("Wait", one("wait", "wait"), from_zero=True))
    origin = ", ".join(sorted(history.totals.joules))
    yield from _section("Energy", f"joules a token, {origin}", draw("Energy", one("energy", "energy"), from_zero=True))


def _section(title: str, what: str, drawing: str, legend: Sequence[Curve] = ()) -> Iterator[str]:
    if not drawing:
        return
    yield f"<h2>{escape(title)}</h2><p class=what>{escape(what)}</p>{drawing}"
    shown = [curve for curve in legend if curve.buckets]
    if shown:
        yield "<ul class=legend>"
        for at, curve in enumerate(shown):
            yield f'<li><b class="key c{at % COLOURS}"></b>{_name(curve.name)} {curve.buckets[-1].mean:.4g}</li>'
        yield "</ul>"


def _points(points: Sequence[tuple[int, float]]) -> list[Any]:
    series = Series()
    for step, value in points:
        series.add(step, value)
    return series.buckets


def _marks(history: History) -> list[Mark]:
    releases = [
        Mark(made["step"], "release", f"release {made['number']}")
        for made in history.releases
        if type(made.get("step")) is int
    ]
    trips = [
        Mark(trip["step"], "trip", str(trip.get("why"))) for trip in history.trips if type(trip.get("step")) is int
    ]
    return releases[-MAX_MARKS:] + trips[-MAX_MARKS:]


# ---- in tables


def _releases(history: History) -> Iterator[str]:
    if not history.releases:
        return
    yield "<h2>Releases</h2>"
    yield from _note_cut(len(history.releases))
    yield "<table><tr><th class=n>no.<th>made<th class=n>step<th class=n>tokens<th class=n>documents<th>knows"
    yield "<th>held out, perplexity<th>verdict<th>links</tr>"
    for made in reversed(history.releases[-MAX_ROWS:]):
        links = " ".join(tier for tier, at in history.tiers.items() if at == made["number"])
        cells = [made["number"], made.get("created"), made.get("step"), made.get("tokens"), made.get("documents")]
        kinds = ("n", "", "n", "n", "n")
        yield "<tr>"
        for kind, cell in zip(kinds, cells, strict=True):
            shown = f"{cell:,}" if type(cell) is int else escape("" if cell is None else cell)
            yield f"<td class=n>{shown}</td>" if kind else f"<td>{shown}</td>"
        yield f"<td>{escape(made.get('watermark') or '')}</td><td>{_evals(made.get('evals'))}</td>"
        yield f"<td>{_verdict(made)}</td><td>{escape(links)}</td></tr>"
    yield "</table>"


def _evals(evals: Any) -> str:
    if not isinstance(evals, dict):
        return ""
    found = [
        f"{_name(name)} {result['perplexity']:.4g}"
        for name, result in list(evals.items())[:MAX_ROWS]
        if isinstance(result, dict) and type(result.get("perplexity")) in (int, float)
    ]
    return "<br>".join(found)


def _verdict(made: dict[str, Any]) -> str:
    if "damaged" in made:
        return '<span class="bad">release.json is damaged</span>'
    verdict = made.get("verdict")
    if not isinstance(verdict, dict):
        return ""
    if why := verdict.get("why"):
        return f'<span class="bad">{escape(str(why)[:500])}</span>'
    return "passed" if verdict.get("passed") else "not judged"


def _trips(history: History) -> Iterator[str]:
    if not history.trips:
        return
    yield "<h2>Breaker</h2>"
    yield from _note_cut(len(history.trips))
    yield "<table><tr><th>when<th class=n>step<th>why<th class=n>back to<th class=n>windows<th class=n>documents</tr>"
    for trip in reversed(history.trips[-MAX_ROWS:]):
        windows = sum(len(indices) for _, indices in trip["windows"])
        yield f"<tr><td>{escape(trip.get('time', ''))}</td><td class=n>{escape(trip.get('step', ''))}</td>"
        yield f"<td>{escape(str(trip.get('why', ''))[:500])}</td><td class=n>{escape(trip.get('back_to', ''))}</td>"
        freed = "" if trip["freed"] is None else " freed"
        yield f"<td class=n>{windows}{freed}</td><td class=n>{len(trip.get('documents', ()))}</td></tr>"
    yield "</table>"


def _note_cut(size: int) -> Iterator[str]:
    if size > MAX_ROWS:
        yield f"<p class=what>the last {MAX_ROWS} of {size}</p>"


def _name(name: str) -> str:
    name = name or "(no origin)"
    return escape(name if len(name) <= NAME_CHARS else f"{name[: NAME_CHARS - 3]}...")
