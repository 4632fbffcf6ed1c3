"""What the pipe between two stages costs: batches written by one process and read, checked, by another.

The writer holds all batches of a file in memory before its clock starts; the reader takes what comes through the pipe
and does nothing with it. Both count seconds of CPU, so that waiting for each other does not count, over all the
batches, `REPEATS` times. That is what each `|` between stages adds to their work.
"""

from __future__ import annotations

import subprocess
import sys
import time
from typing import Any

import orjson

from clet.exits import InputError
from clet.streams import RecordWriter, read_batches

REPEATS = 3


def measure(path: str) -> dict[str, Any]:
    """CPU seconds that writing and reading the batches of a file through a pipe takes, and ns a token."""
    command = [sys.executable, "-m", "clet.bench.pipe"]
    writer = subprocess.Popen([*command, "write", path], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    reader = subprocess.Popen([*command, "read"], stdin=writer.stdout, stdout=subprocess.PIPE)
    writer.stdout.close()
    read = reader.communicate()[0]
    written = writer.stderr.read()
    writer.stderr.close()
    if writer.wait() or reader.returncode:
        raise InputError(f"the pipe's ends failed: {written.decode(errors='replace')[-500:]}")
    result = {"write_s": float(written) / REPEATS, **orjson.loads(read)}
    both = result["write_s"] + result["read_s"]
    return result | {"ns_per_token": 1e9 * both / max(1, result["tokens"])}


def _write(path: str) -> None:
    batches = list(read_batches([path]))
    writer = RecordWriter("-")
    started = time.process_time()
    for batch in batches * REPEATS:
        writer.write(batch)
    writer.close()
    sys.stderr.write(str(time.process_time() - started))


def _read() -> None:
    import clet.kernels  # noqa: F401 - every stage that reads batches has them

    records = tokens = text_bytes = 0
    batches = read_batches([])
    first = next(batches)  # kernels are loaded now
    started = time.process_time()
    for batch in batches:
        records, tokens, text_bytes = records + len(batch), tokens + batch.num_tokens, text_bytes + batch.num_bytes
    took = (time.process_time() - started) * (1 + first.num_tokens / max(1, tokens))
    result = {"records": records + len(first), "tokens": tokens + first.num_tokens}
    result |= {"text_bytes": text_bytes + first.num_bytes}
    result = {name: number // REPEATS for name, number in result.items()} | {"read_s": took / REPEATS}
    sys.stdout.buffer.write(orjson.dumps(result))


if __name__ == "__main__":
    _write(sys.argv[2]) if sys.argv[1] == "write" else _read()
