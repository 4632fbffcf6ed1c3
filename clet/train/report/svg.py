"""Line charts as inline SVG: no scripts, no fonts, nothing from elsewhere; colours are the page's CSS.

A chart has one x axis for steps, ticks at 1, 2 or 5 times a power of ten, a band from least to greatest around the mean
of a curve where it has one, and marks across it: breaker trips and releases. Its size depends on the number of buckets
and not on the number of steps. Names come from strangers and are escaped here.
"""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass

from clet.log import plain_text
from clet.train.series import Bucket

WIDTH, HEIGHT = 960, 240
LEFT, RIGHT, TOP, BOTTOM = 64, 12, 12, 26  # margins
COLOURS = 8  # classes c0 to c7 of the page's style
TICKS = 5
WILD = 2  # percent of a band's buckets that may reach over the edge


@dataclass(frozen=True, slots=True)
class Curve:
    """A named curve; `band` draws from least to greatest as well, `dots` marks each of its points."""

    name: str
    buckets: Sequence[Bucket]
    band: bool = False
    dots: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """Something that happened at a step: `kind` is `trip`, `release` or `rate`."""

    step: float
    kind: str
    text: str


def escape(text: object) -> str:
    """Text from anywhere, for HTML and for attributes; what is invisible or reorders a line is shown as a code."""
    return html.escape(plain_text(str(text)), quote=True)


def chart(
    title: str,
    curves: Sequence[Curve],
    marks: Sequence[Mark] = (),
    *,
    steps: tuple[float, float] | None = None,
    from_zero: bool = False,
) -> str:
    """The chart of curves over steps, from `steps[0]` to `steps[1]` if given; empty where none has a point."""
    curves = [curve for curve in curves if curve.buckets]
    if not curves:
        return ""
    frame = _frame(curves, steps, from_zero)
    parts = [
        f'<svg viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-label="{escape(title)}">',
        *frame.grid(),
        *(frame.mark(mark) for mark in marks),
    ]
    for number, curve in enumerate(curves):
        parts += frame.draw(curve, number % COLOURS)
    return "".join([*parts, "</svg>"])


@dataclass(frozen=True, slots=True)
class _Frame:
    """Where the values of a chart lie on it."""

    x0: float
    x1: float
    y0: float
    y1: float

    def x(self, step: float) -> float:
        return LEFT + (step - self.x0) / (self.x1 - self.x0) * (WIDTH - LEFT - RIGHT)

    def y(self, value: float) -> float:
        share = min(max((value - self.y0) / (self.y1 - self.y0), 0.0), 1.0)  # a spike ends at the edge
        return HEIGHT - BOTTOM - share * (HEIGHT - TOP - BOTTOM)

    def grid(self) -> list[str]:
        parts = []
        for value in ticks(self.y0, self.y1):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
            parts.append(f'<text class="yt" x="{LEFT - 8}" y="{y + 4:.1f}">{number(value)}</text>')
        for value in ticks(self.x0, self.x1):
            x = self.x(value)
            parts.append(f'<line class="grid" y1="{TOP}" y2="{HEIGHT - BOTTOM}" x1="{x:.1f}" x2="{x:.1f}"/>')
            parts.append(f'<text class="xt" x="{x:.1f}" y="{HEIGHT - 8}">{number(value)}</text>')
        return parts

    def mark(self, mark: Mark) -> str:
        x = self.x(min(max(mark.step, self.x0), self.x1))
        line = f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}"/>'
        return f'<g class="{escape(mark.kind)}">{line}<title>step {mark.step:g}: {escape(mark.text)}</title></g>'

    def draw(self, curve: Curve, colour: int) -> list[str]:
        middles = [((bucket.first + bucket.last) / 2, bucket) for bucket in curve.buckets]
        parts = [f'<g class="c{colour}"><title>{escape(curve.name)}</title>']
        if curve.band:
            upper = [self._point(x, bucket.high) for x, bucket in middles]
            lower = [self._point(x, bucket.low) for x, bucket in reversed(middles)]
            parts.append(f'<polygon points="{" ".join([*upper, *lower])}"/>')
        line = [self._point(x, bucket.mean) for x, bucket in middles]
        if len(line) > 1:
            parts.append(f'<polyline points="{" ".join(line)}"/>')
        if curve.dots or len(line) == 1:
            for x, bucket in middles:
                parts.append(f'<circle cx="{self.x(x):.1f}" cy="{self.y(bucket.mean):.1f}" r="3"/>')
        return [*parts, "</g>"]

    def _point(self, x: float, value: float) -> str:
        return f"{self.x(x):.1f},{self.y(value):.1f}"


def _frame(curves: Sequence[Curve], steps: tuple[float, float] | None, from_zero: bool) -> _Frame:
    """Room for every mean and for all but the wildest of the bands: one spike does not flatten the rest."""
    points = [bucket for curve in curves for bucket in curve.buckets]
    x0, x1 = steps or (min(bucket.first for bucket in points), max(bucket.last for bucket in points))
    low, high = min(bucket.mean for bucket in points), max(bucket.mean for bucket in points)
    for curve in curves:
        if curve.band:
            lows, highs = sorted(b.low for b in curve.buckets), sorted(b.high for b in curve.buckets)
            low = min(low, lows[len(lows) * WILD // 100])
            high = max(high, highs[-1 - len(highs) * WILD // 100])
    if from_zero:
        low = min(0.0, low)
    room = (high - low) or abs(high) or 1.0
    low, high = (low if from_zero else low - 0.05 * room), high + 0.05 * room
    return _Frame(x0, x1 if x1 > x0 else x0 + 1, low, high)


def ticks(low: float, high: float) -> list[float]:
    """About `TICKS` round values between two numbers."""
    raw = (high - low) / TICKS
    if not raw > 0 or not math.isfinite(raw):
        return []
    power = 10.0 ** math.floor(math.log10(raw))
    width = next((factor * power for factor in (1, 2, 5) if factor * power >= raw), 10 * power)
    first = math.ceil(low / width - 1e-9)
    return [at * width for at in range(first, math.floor(high / width + 1e-9) + 1)]


def number(value: float) -> str:
    """A number for a person: 4 digits, thousands and above with a letter."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else str(value)
    size = abs(value)
    for limit, letter in ((1e18, "E"), (1e15, "P"), (1e12, "T"), (1e9, "G"), (1e6, "M"), (1e4, "k")):
        if size >= limit:
            return f"{value / (1e3 if letter == 'k' else limit):.4g}{letter}"
    return f"{value:.4g}" if size >= 1e-3 else f"{value:.2e}"
