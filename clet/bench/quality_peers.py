"""What datatrove and fastText make of the same texts: run by `clet.bench.quality` under an interpreter that has them.

It imports nothing of clet, so that the peers may live in an environment of their own. Standard output is one JSON
object; what is not installed is named under `left_out`.
"""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import Any

FASTTEXT_SETTINGS = ({}, {"wordNgrams": 2}, {"wordNgrams": 2, "epoch": 15, "lr": 0.5})


def verdicts(folder: Path) -> dict[str, Any]:
    """Reason or None of each filter for each text, and the CPU seconds that each filter took."""
    from datatrove.data import Document
    from datatrove.pipeline import filters

    texts = json.loads((folder / "texts.json").read_text())
    chain = {
        "gopher-repetition": filters.GopherRepetitionFilter(),
        "gopher-quality": filters.GopherQualityFilter(),
        "c4": filters.C4QualityFilter(),
        "fineweb": filters.FineWebQualityFilter(),
    }
    for each in chain.values():
        each.filter(Document(text="A first text, for what is loaded late. It has words.", id=""))
    found: dict[str, list[str | None]] = {}
    seconds: dict[str, float] = {}
    for name, each in chain.items():
        started = time.process_time()
        found[name] = []
        for text in texts:
            try:
                result = each.filter(Document(text=text, id=""))
            except (ZeroDivisionError, IndexError) as error:
                result = (False, type(error).__name__)
            found[name].append(None if result is True else result[1])
        seconds[name] = time.process_time() - started
    return {"verdicts": found, "cpu_s": seconds}


def classify(folder: Path) -> dict[str, Any]:
    """The probability that fastText gives each test text of being good, for several settings."""
    import fasttext

    train = str(folder / "train.txt")
    lines = (folder / "test.txt").read_text().splitlines()
    runs = []
    for settings in FASTTEXT_SETTINGS:
        started = time.process_time()
        model = fasttext.train_supervised(train, thread=1, verbose=0, **settings)
        trained = time.process_time()
        scores = []
        for line in lines:
            pairs = model.f.predict(line + "\n", 2, 0.0, "strict")  # the wrapper's own call fails with numpy 2
            scores.append({label: value for value, label in pairs}.get("__label__1", 0.0))
        used = {"fit_cpu_s": trained - started, "score_cpu_s": time.process_time() - trained}
        runs.append({"settings": settings, "scores": scores, **used})
    return {"runs": runs}


def main() -> None:
    """`quality_peers.py verdicts|classify FOLDER`."""
    task, folder = sys.argv[1], Path(sys.argv[2])
    try:
        result = {"verdicts": verdicts, "classify": classify}[task](folder)
    except ImportError as error:
        result = {"left_out": str(error)}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    main()
