#!/usr/bin/env python3
"""The measuring half of scripts/quickstart: put the day's questions to the server, and say what changed.

quickstart_report.py ask SERVER QUESTIONS DAY OUT    the greedy completion of each question's stem, as JSONL
quickstart_report.py report DIR                      the tables; status 1 where the new day was not learned
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import httpx

from clet.bench.report import show

TEXTS = {
    "old-library": "Python's email package (held out)",
    "old-news": "news of the first 14 days (held-out publisher)",
    "new-day": "news of the new day (held-out publisher)",
}
MAX_OLD_RISE = 1.25  # old text may become this much less likely before the morning counts as forgetting


def read_lines(path: Path) -> list[dict]:
    """The objects of a JSONL file."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def ask(server: str, questions: str, day: str, out: str) -> int:
    """Write {stem, want, answer, release} for each question about an event of `day`."""
    asked = [q for q in read_lines(Path(questions)) if q["day"] == day and not q["standing"]]
    with httpx.Client(base_url=server, timeout=60) as client, open(out, "w") as file:
        for question in asked:
            body = {"prompt": question["stem"], "max_tokens": 16, "temperature": 0, "stop": ["\n"]}
            reply = client.post("/v1/completions", json=body).raise_for_status()
            answer = reply.json()["choices"][0]["text"]
            line = {"stem": question["stem"], "want": question["answers"][0], "answer": answer}
            file.write(json.dumps(line | {"release": reply.headers["x-clet-release"]}) + "\n")
    return 0


def right(line: dict) -> bool:
    """Whether an answer begins with what was asked for."""
    return line["answer"].strip().startswith(line["want"])


def report(folder: Path) -> int:
    """Print what the run in `folder` measured; 1 where it did not learn the new day or lost the old ones."""
    rates = []
    for name in ("steps-1.jsonl", "steps-2.jsonl"):
        steps = [line for line in read_lines(folder / name) if "loss" in line]
        rates.append(sum(s["tokens"] for s in steps) / sum(s["seconds"] for s in steps))
    perplexity = {
        when: {text: json.loads((folder / f"{when}-{text}.json").read_text())["perplexity"] for text in TEXTS}
        for when in ("before", "after")
    }
    before, after = (read_lines(folder / f"{when}.jsonl") for when in ("before", "after"))
    print(f"trained at {rates[0]:,.0f} tokens/s on the first days, {rates[1]:,.0f} on the new one\n")
    rows = [[title, perplexity["before"][text], perplexity["after"][text]] for text, title in TEXTS.items()]
    show("perplexity", ["text", "before", "after"], rows)
    print()
    show(
        f"answers of the server: {sum(map(right, before))} of {len(before)} right before, "
        f"{sum(map(right, after))} of {len(after)} after",
        ["asked", "before", "after", "right is"],
        [[b["stem"], b["answer"].strip(), a["answer"].strip(), b["want"]] for b, a in zip(before, after, strict=True)],
    )
    learned = perplexity["after"]["new-day"] < perplexity["before"]["new-day"]
    answered = sum(map(right, after)) > sum(map(right, before))
    kept = all(perplexity["after"][t] < MAX_OLD_RISE * perplexity["before"][t] for t in ("old-library", "old-news"))
    print()
    for verdict, text in (
        (learned, "the new day became more likely"),
        (answered, "the server answers more questions about the new day"),
        (kept, f"old text became less likely by no more than {MAX_OLD_RISE - 1:.0%}"),
    ):
        print(f"{'yes' if verdict else 'NO '}  {text}")
    return 0 if learned and answered and kept else 1


if __name__ == "__main__":
    sys.exit(ask(*sys.argv[2:]) if sys.argv[1] == "ask" else report(Path(sys.argv[2])))
