"""`clet serve` as a process: ready when it answers, drained on SIGTERM."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import httpx


def test_ready_means_answering_and_sigterm_drains_with_status_0(model_dir: Path, tmp_path: Path):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as systemd, contextlib.ExitStack() as stack:
        systemd.bind(str(tmp_path / "notify"))
        systemd.settimeout(60)
        command = [Path(sys.executable).with_name("clet"), "serve", model_dir, "--listen", "127.0.0.1:0", "--json"]
        process = subprocess.Popen(
            [*map(str, command), "--port-file", "port", "-j", "1", "--max-len", "400"],
            cwd=tmp_path,
            stderr=subprocess.PIPE,
            env=os.environ | {"NOTIFY_SOCKET": str(tmp_path / "notify"), "OMP_NUM_THREADS": "1"},
        )
        stack.callback(process.kill)
        while b"READY=1" not in systemd.recv(4096):
            pass
        url = f"http://127.0.0.1:{(tmp_path / 'port').read_text().strip()}"
        body = {"prompt": "the quick", "max_tokens": 300, "stream": True, "ignore_eos": True}
        with httpx.stream("POST", f"{url}/v1/completions", json=body, timeout=60) as response:
            lines = response.iter_lines()
            next(lines)
            process.send_signal(signal.SIGTERM)
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert process.wait(60) == 0
        told = [json.loads(line)["event"] for line in process.stderr.read().splitlines()]
        assert told[:2] == ["loaded", "listening"]


def test_a_wrong_path_is_one_line_and_status_2(clet):
    result = clet("serve", "nowhere")
    assert result.returncode == 2
    assert len(result.stderr.splitlines()) == 1 and b"neither a run" in result.stderr
