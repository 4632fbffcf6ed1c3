"""`clet sync-server` as a process: killed, restarted, drained; what it promised is there."""

from __future__ import annotations

import contextlib
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from clet import seeds
from clet.exits import UsageError
from clet.sync.client import Client, Unreachable
from clet.sync.codec import encode
from clet.sync.credentials import read_token
from clet.sync.protocol import DeltaHeader, Layout
from clet.sync.weights import ModelDirectory, layout_of, read_parameters

from .sync_processes import start_server, tiny_model

TOKEN = "a-token-that-nobody-guesses"


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_model(tmp_path_factory.mktemp("model") / "m")


@pytest.fixture
def server(model: Path, tmp_path: Path) -> Iterator[Callable[..., tuple[subprocess.Popen[bytes], str]]]:
    """Starts `clet sync-server` on one state; (process, URL)."""
    started: list[subprocess.Popen[bytes]] = []

    def start(*more: object) -> tuple[subprocess.Popen[bytes], str]:
        process, url = start_server(model, tmp_path / "state", tmp_path / "port", tmp_path / "log", *more)
        started.append(process)
        return process, url

    yield start
    for process in started:
        process.kill()
        process.wait()


def deltas(layout: Layout, count: int) -> list[np.ndarray]:
    generator = seeds.numpy_generator(1, "process")
    noise = 0.001 * generator.standard_normal((count, layout.size)).astype(np.float32)
    return [layout.flatten(layout.views(row)) for row in noise]


def test_kill_9_and_restart_gives_the_acknowledged_version_bit_for_bit(model, server, tmp_path):
    directory = ModelDirectory(model)
    size = directory.layout.size
    process, url = server("--save-every", 4)
    client = Client(url)
    epoch = client.join("w", directory.identity)["epoch"]
    version, before = client.pull(size)
    assert version == 0 and np.array_equal(before, directory.weights())
    for number, delta in enumerate(deltas(directory.layout, 9), 1):
        answer = client.push(DeltaHeader("w", epoch, number, version, 100), encode(delta, "int8"))
        assert (answer["status"], answer["version"]) == ("accepted", number)
        version, before = client.pull(size)
        if number in (3, 7):
            process.send_signal(signal.SIGKILL)
            process.wait()
            process, url = server("--save-every", 4)
            client = Client(url)
            again, after = client.pull(size)
            assert again == version == number and np.array_equal(after, before)
            # The message that was answered before the kill is not applied again after it.
            assert client.push(DeltaHeader("w", epoch, number, version - 1, 100), encode(delta, "int8")) == answer
    process.terminate()
    assert process.wait(30) == 0
    exported = ModelDirectory(tmp_path / "state" / "model")  # a Hugging Face directory with the newest version
    assert exported.identity == directory.identity and np.array_equal(exported.weights(), before)


def test_https_and_tokens_keep_strangers_out_and_out_of_the_log(model, server, tmp_path, clet):
    made = "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    command = [*made.split(), "-keyout", tmp_path / "key", "-out", tmp_path / "cert"]
    openssl = subprocess.run(command, capture_output=True)
    assert openssl.returncode == 0, openssl.stderr
    tokens = tmp_path / "tokens"
    tokens.write_text(f"# workers\n{TOKEN}\n")
    process, url = server("--token-file", tokens, "--tls-cert", tmp_path / "cert", "--tls-key", tmp_path / "key", "-v")
    url = url.replace("http://", "https://")
    identity = ModelDirectory(model).identity
    trusted = str(tmp_path / "cert")
    with contextlib.closing(Client(url, token="not-the-token-at-all", ca_file=trusted)) as stranger:
        with pytest.raises(UsageError, match="token was refused"):
            stranger.join("w", identity)
    with contextlib.closing(Client(url, token=read_token(str(tokens)), ca_file=trusted)) as friend:
        assert friend.join("w", identity)["version"] == 0
    with contextlib.closing(Client(url, token=TOKEN)) as careful:
        with pytest.raises(Unreachable, match=r"(?i)certificate"):
            careful.join("w", identity)
    # One state belongs to one server.
    done = clet("sync-server", "--model", model, "--state", tmp_path / "state", "--listen", "127.0.0.1:0")
    assert done.returncode == 75 and b"in use" in done.stderr
    process.terminate()
    assert process.wait(30) == 0
    text = (tmp_path / "log").read_text()
    assert "joined" in text and TOKEN not in text and "not-the-token" not in text


def test_an_open_address_without_a_token_is_refused(clet, model):
    done = clet("sync-server", "--model", model, "--state", "s", "--listen", "0.0.0.0:0")
    assert done.returncode == 2 and b"--token-file" in done.stderr


@pytest.mark.parametrize("content", ["", "# nothing\n", "short\n", "secret-with-an-umlaut-\xfc\n"])
def test_a_useless_token_file_is_refused_without_showing_it(tmp_path, content):
    file = tmp_path / "tokens"
    file.write_text(content)
    with pytest.raises(UsageError) as refused:
        read_token(str(file))
    assert "short" not in str(refused.value) and "secret" not in str(refused.value)


def test_the_vector_of_a_model_is_its_parameters(model):
    from clet.model.checkpoint import load_model

    decoder = load_model(model)
    layout = layout_of(decoder)
    views = layout.views(read_parameters(decoder, layout))
    for name, parameter in decoder.named_parameters():
        assert np.array_equal(views[name], parameter.detach().numpy())
    assert set(views) == set(decoder.state_dict())
