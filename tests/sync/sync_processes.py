"""A tiny model directory and a sync-server process for the tests of this folder."""

from __future__ import annotations

import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import torch

from clet.model.checkpoint import save_model
from clet.model.config import ModelConfig
from clet.model.decoder import Decoder
from clet.model.initialise import initialise
from clet.model.vocabulary import EOS_IDS, train_vocabulary

CLET = Path(sys.executable).with_name("clet")
TEXTS = [
    "The harbour of Ostrava opened its third dock, and seven ships came on the first day.",
    "Seven ships came to the harbour; the third dock opened on a day of rain.",
]
CONFIG = ModelConfig(
    vocab_size=320,
    hidden_size=64,
    intermediate_size=128,
    num_layers=2,
    num_heads=1,
    num_kv_heads=1,
    head_dim=64,
    max_positions=128,
    eos_token_ids=EOS_IDS,
)


def tiny_model(directory: Path, texts: list[str] = TEXTS, **changes: int) -> Path:
    """A model directory of about 0.1 M random parameters; its vocabulary is learned from `texts`."""
    config = replace(CONFIG, **changes)
    model = Decoder(config)
    with torch.no_grad():
        initialise(model, 1)
    save_model(model, directory)
    (directory / "tokenizer.json").write_text(train_vocabulary(texts, config.vocab_size))
    return directory


def start_server(
    model: Path, state: Path, port_file: Path, log: Path, *more: object, port: int = 0
) -> tuple[subprocess.Popen[bytes], str]:
    """Start `clet sync-server` and wait until it listens; (process, URL). stderr is appended to `log`."""
    port_file.unlink(missing_ok=True)
    arguments = ["--model", model, "--state", state, "--listen", f"127.0.0.1:{port}", "--port-file", port_file, *more]
    with open(log, "ab") as file:
        process = subprocess.Popen([CLET, "sync-server", *map(str, arguments)], stderr=file, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while not port_file.exists():
        assert process.poll() is None and time.monotonic() < deadline, log.read_text()
        time.sleep(0.02)
    return process, f"http://127.0.0.1:{port_file.read_text().strip()}"
