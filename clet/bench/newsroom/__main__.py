"""The newsroom as a program: serve it until SIGTERM, write down its questions and its held-out articles.

    python -m clet.bench.newsroom --seed 1 --start 2026-03-01 --days 8 --upto 2026-03-07T23:59:59Z \\
        --listen 127.0.0.1:0 --port-file port --questions questions.jsonl --held-out held-out
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import signal
import sys
import threading
from collections.abc import Iterator
from datetime import UTC, date, datetime, time
from pathlib import Path

from clet.bench.newsroom import feeds
from clet.bench.newsroom.publishers import PUBLISHERS
from clet.bench.newsroom.server import Newsroom, moment, serve
from clet.bench.newsroom.world import World
from clet.exits import ExitCode
from clet.seeds import DEFAULT_SEED


def _address(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or int(port) > 65535:
        raise ValueError("an address is HOST:PORT")
    return host, int(port)


def question_lines(world: World) -> Iterator[dict]:
    """Every question of every day, and of the standing facts (`"standing": true`), as JSON objects."""
    for day in world.dates:
        standing = world.background_questions(day)
        for question in world.questions(day) + standing:
            yield {
                "id": question.event,
                "day": day.isoformat(),
                "kind": question.kind,
                "standing": question in standing,
                "stem": question.stem,
                "paraphrases": list(question.paraphrases),
                "answers": list(question.answers),
                "old": question.old,
                "false_premise": question.false_premise,
                "presumed": question.presumed,
            }


def held_out_lines(world: World, day: date) -> Iterator[dict]:
    """The held-out publisher's articles of a day as records: id (128 bits of SHA-256 of the text), text, published."""
    for article in world.articles(day):
        if PUBLISHERS[article.publisher].held_out:
            yield {
                "id": hashlib.sha256(article.text.encode()).hexdigest()[:32],
                "source": "newsroom",
                "origin": article.publisher,
                "url": None,
                "title": article.title,
                "text": article.text,
                "published": feeds.rfc3339(article.published),
                "meta": {"event": article.event},
            }


def _write_lines(path: str | Path, lines: Iterator[dict]) -> None:
    _write(path, "".join(json.dumps(line) + "\n" for line in lines))


def _write(path: str | Path, text: str) -> None:
    """Atomically: whoever waits for the file finds it whole or not at all."""
    part = Path(f"{path}.part")
    part.write_text(text, encoding="utf-8")
    os.replace(part, path)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m clet.bench.newsroom", description="Serve a simulated newsroom.")
    parser.add_argument("--seed", type=int, default=DEFAULT_SEED, help="the world is a function of this number")
    parser.add_argument("--start", type=date.fromisoformat, required=True, metavar="DATE", help="first simulated day")
    parser.add_argument("--days", type=int, default=8, help="simulated days")
    parser.add_argument("--stories", type=int, default=12, help="events a day")
    parser.add_argument("--upto", type=moment, metavar="TIME", help="where the clock stands (default: the end)")
    parser.add_argument("--listen", type=_address, default=("127.0.0.1", 0), metavar="HOST:PORT", help="0: a free port")
    parser.add_argument("--port-file", metavar="FILE", help="write the port here once requests are answered")
    parser.add_argument("--questions", metavar="FILE", help="write the questions of all days as JSONL")
    parser.add_argument(
        "--held-out", metavar="DIR", help="write the held-out publisher's articles as JSONL, a file a day"
    )
    return parser


def main(argv: list[str] | None = None) -> int:
    """Serve in the foreground until SIGTERM or SIGINT, then return 0."""
    parser = _parser()
    args = parser.parse_args(argv)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    try:
        world = World(args.seed, args.start, args.days, args.stories)
    except (ValueError, OverflowError) as error:
        parser.error(str(error))
    newsroom = Newsroom(world, args.upto or datetime.combine(world.dates[-1], time.max, UTC))
    try:
        if args.questions:
            _write_lines(args.questions, question_lines(world))
        if args.held_out:
            Path(args.held_out).mkdir(exist_ok=True)
            for day in world.dates:
                _write_lines(Path(args.held_out, f"{day}.jsonl"), held_out_lines(world, day))
        with serve(newsroom, *args.listen) as base:
            if args.port_file:
                _write(args.port_file, base.rpartition(":")[2] + "\n")
            print(f"newsroom: serving {base}/opml.xml as of {feeds.rfc3339(newsroom.now)}", file=sys.stderr, flush=True)
            stop.wait()
    except OSError as error:
        print(f"newsroom: {error}", file=sys.stderr)
        return ExitCode.WRITE_FAILED if error.filename else ExitCode.UNAVAILABLE  # a file, or the address to listen on
    return ExitCode.OK


if __name__ == "__main__":
    sys.exit(main())
