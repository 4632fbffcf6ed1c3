"""Metrics of a trainer, as Prometheus reads them: over HTTP, and from a file."""

from __future__ import annotations

import socket
import urllib.error
import urllib.request

import pytest
from prometheus_client.parser import text_string_to_metric_families
from tiny_run import step_lines

from clet.exits import UsageError
from clet.train.breaker import write_trips
from clet.train.exporter import Endpoint, TextFile, open_exporter
from clet.train.metrics import Metrics


def samples(text: str) -> dict[str, float]:
    """{name or name{label value}: value} of a page."""
    found = {}
    for family in text_string_to_metric_families(text):
        for name, labels, value, *_ in family.samples:
            found["".join([name, *(f"/{label}" for label in labels.values())])] = value
    return found


@pytest.fixture
def told(learn, stories, tmp_path):
    """Metrics that saw a run, and the run."""
    metrics = Metrics(clock=lambda: 1000.0)
    metrics.begin(tmp_path / "run")
    learn(stories, run=tmp_path / "run", watts=10.0, on_event=lambda fields, stop: metrics.see(fields))
    return metrics, tmp_path / "run"


def get(port: int, path: str = "/metrics") -> str:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=10) as reply:
        return reply.read().decode()


def test_a_scrape_tells_what_the_run_did(told):
    metrics, run = told
    endpoint = open_exporter(metrics, "127.0.0.1:0")
    try:
        found = samples(get(endpoint.port))
        with pytest.raises(urllib.error.HTTPError, match="404"):
            get(endpoint.port, "/")
    finally:
        endpoint.close()
    lines = step_lines(run)
    assert found["clet_train_steps_total"] == found["clet_train_step"] == len(lines)
    assert found["clet_train_tokens_total"] == found["clet_train_run_tokens"] == lines[-1]["total_tokens"]
    assert found["clet_train_flops_total"] == sum(line["flops"] for line in lines)
    assert found["clet_train_loss"] == lines[-1]["loss"] and found["clet_train_learning_rate"] == lines[-1]["lr"]
    assert found["clet_train_windows_total/fresh"] == sum(len(i) for line in lines for _, i in line["windows"])
    assert found["clet_train_backlog_windows"] == 0 and found["clet_train_replay_share"] == 0
    assert 0 <= found["clet_train_wait_share"] < 1 and found["clet_train_tokens_per_second"] > 0
    assert [name for name in found if name.startswith("clet_train_joules_total")] and found["clet_train_release"] == 1
    assert found["clet_train_knowledge_watermark_timestamp_seconds"] == 1772323200  # 2026-03-01
    assert found["clet_train_last_step_timestamp_seconds"] == 1000.0


def test_a_new_process_knows_the_release_and_the_trips_of_the_run(told):
    _, run = told
    trip = {
        "step": 3,
        "back_to": 0,
        "why": "by hand",
        "lines": "",
        "windows": [],
        "undone": [],
        "recalled": [],
        "freed": None,
    }
    write_trips(run, [trip])
    metrics = Metrics()
    metrics.begin(run)
    metrics.see({"event": "breaker", "step": 3})
    text = samples(TextFile(metrics, run / "x.prom")._path.read_text())
    assert text["clet_train_release"] == 1
    assert (text["clet_train_run_breaker_trips"], text["clet_train_breaker_trips_total"]) == (2, 1)
    assert "clet_train_loss" not in text  # nothing is invented before the first step


def test_the_file_is_replaced_now_and_then_and_a_full_disk_does_not_stop_the_run(told, tmp_path, capfd):
    metrics, _ = told
    now = [0.0]
    folder = tmp_path / "collector"
    folder.mkdir()
    file = TextFile(metrics, folder / "clet.prom", clock=lambda: now[0])
    first = (folder / "clet.prom").read_text()
    metrics.see({"event": "breaker", "step": 3})
    file.tick()
    assert (folder / "clet.prom").read_text() == first
    now[0] = 6.0
    file.tick()
    assert (folder / "clet.prom").read_text() != first
    assert [path.name for path in folder.iterdir()] == ["clet.prom"]
    for path in folder.iterdir():
        path.unlink()
    folder.rmdir()
    for now[0] in (12.0, 18.0):
        file.tick()
    assert capfd.readouterr().err.count("training goes on") == 1


def test_what_cannot_be_had_is_refused_at_once(tmp_path):
    for target in ("nonsense", "127.0.0.1:99999", str(tmp_path / "nowhere" / "x.prom")):
        with pytest.raises(UsageError, match="--metrics"):
            open_exporter(Metrics(), target)
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(UsageError, match="--metrics"):
        Endpoint(Metrics(), f"127.0.0.1:{taken.getsockname()[1]}")
