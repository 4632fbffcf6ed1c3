"""Tiny random models in Hugging Face layout, runs of releases made of them, and servers on a free port."""

from __future__ import annotations

import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
import torch
import uvicorn

from clet import seeds
from clet.model.checkpoint import load_model, save_model, state_root, write_json
from clet.model.config import QWEN3, ModelConfig
from clet.model.decoder import Decoder
from clet.model.vocabulary import EOS_IDS, tokenizer_config, train_vocabulary
from clet.release import promote, publish
from clet.serve.http import make_app
from clet.serve.pieces import Pieces
from clet.serve.source import Source
from clet.serve.swap import Deck
from clet.serve.workshop import open_deck
from clet.tokens import Tokenizer

CORPUS = [
    "the quick brown fox jumps over the lazy dog and runs away",
    "news of today: caf\u00e9 prices rise again \u2014 \u20ac5",
]
VOCAB = 320
NOW = datetime(2026, 3, 1, tzinfo=UTC)


@pytest.fixture(autouse=True, scope="session")
def one_thread():
    torch.set_num_threads(1)


def write_model(directory: Path, seed: int = 1, **changes: object) -> Path:
    """A model directory: random weights wide enough that greedy choices are clear, and a byte-level vocabulary.

    Tokens that are not printable ASCII have zero rows in the (tied) head, so that its greedy text is ASCII.
    """
    shape = {
        "vocab_size": VOCAB,
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_layers": 2,
        "num_heads": 4,
        "num_kv_heads": 2,
        "head_dim": 16,
        "max_positions": 512,
        "eos_token_ids": EOS_IDS,
    }
    model = Decoder(ModelConfig(**({"architecture": QWEN3} | shape | changes)))
    generator = seeds.torch_generator(seed, "tests/serve")
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "tokenizer.json").write_text(train_vocabulary(CORPUS, VOCAB), encoding="utf-8")
    write_json(directory / "tokenizer_config.json", tokenizer_config(512))
    pieces = Pieces(directory / "tokenizer.json")
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.endswith("norm.weight"):
                parameter.normal_(0.0, 0.3, generator=generator)
        for token in range(VOCAB):
            text = pieces.spelled(token)
            if not (text and text.isascii() and text.decode().isprintable()):
                model.head_weight[token] = 0.0
    save_model(model, directory)
    return directory


@pytest.fixture(scope="session")
def make_model() -> Callable[..., Path]:
    """`make_model(directory, seed=1, **changes to the configuration)` writes a model directory."""
    return write_model


@pytest.fixture(scope="session")
def model_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One model for all tests that do not change it."""
    return write_model(tmp_path_factory.mktemp("models") / "tiny")


class Run:
    """A run directory that grows releases."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def release(self, number: int, seed: int | None = None) -> Path:
        """Publish release `number` with weights of its own."""

        def fill(directory: Path) -> dict[str, object]:
            write_model(directory, seed=100 + number if seed is None else seed)
            return {
                "parent": number - 1,
                "weights": state_root(load_model(directory)),
                "tokenizer": Tokenizer.load(directory).fingerprint,
                "watermark": f"2026-03-0{number}T00:00:00Z",
            }

        return publish(self.path, number, fill, NOW).path

    def promote(self, number: int) -> None:
        """Point `live` to it."""
        promote(self.path, "live", number, NOW)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run with releases 1 and 2; 1 is live."""
    made = Run(tmp_path / "run")
    made.path.mkdir()
    made.release(1)
    made.release(2)
    return made


class Server:
    """A server in this process, and a client of it."""

    def __init__(self, deck: Deck) -> None:
        self.deck = deck
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        config = uvicorn.Config(make_app(deck, 1), log_config=None, lifespan="on", http="httptools", ws="none")
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        self.client = httpx.Client(base_url=self.url, timeout=60)

    def complete(self, prompt: object = "the quick", **fields: object) -> dict:
        """The answer of /v1/completions, greedy unless `fields` say otherwise; raises for an error."""
        response = self.post({"prompt": prompt, "temperature": 0, "max_tokens": 24} | fields)
        response.raise_for_status()
        return response.json()

    def post(self, body: object, path: str = "/v1/completions") -> httpx.Response:
        """Any request."""
        return self.client.post(path, json=body)

    def text(self, prompt: object = "the quick", **fields: object) -> str:
        """The text of the first choice."""
        return self.complete(prompt, **fields)["choices"][0]["text"]

    def close(self) -> None:
        """Stop answering; the engines end."""
        self.client.close()
        self._server.should_exit = True
        self._thread.join(30)
        self._socket.close()


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    """Starts servers: `serve(path, tier=None, max_batch=4, max_len=128)`; they end with the test."""
    started: list[Server] = []

    def start(path: Path, tier: str | None = None, **options: int) -> Server:
        settings = {"device": "cpu", "jobs": 1, "max_batch": 4, "max_len": 128} | options
        started.append(Server(open_deck(Source.find(str(path), tier), **settings)))
        return started[-1]

    yield start
    for server in started:
        server.close()


@pytest.fixture(scope="module")
def server(model_dir: Path) -> Iterator[Server]:
    """One server for all tests of a module that leave it as it is."""
    deck = open_deck(Source.find(str(model_dir), None), device="cpu", jobs=1, max_batch=4, max_len=128)
    started = Server(deck)
    yield started
    started.close()


@pytest.fixture
def copied(model_dir: Path, tmp_path: Path) -> Path:
    """A copy of the model that a test may break."""
    return Path(shutil.copytree(model_dir, tmp_path / "copy"))
