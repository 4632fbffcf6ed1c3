"""Running an ASGI application as a well-behaved daemon: loopback unless told otherwise, ready when it can answer,
drained on SIGTERM or SIGINT, TLS when given a certificate, with bounded heads of requests and idle times (see
`clet.http_protocol`); bodies are bounded by the applications.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from clet.exits import UsageError, WriteError
from clet.log import log
from clet.notify import notify, watchdog_interval_s
from clet.state import write_atomically

DRAIN_S = 30.0
KEEP_ALIVE_S = 15
BACKLOG = 1024


def parse_listen(text: str, flag: str = "--listen") -> tuple[str, int]:
    """(host, port) of `HOST:PORT`, `[V6]:PORT` or `:PORT` (loopback). Raises UsageError."""
    host, colon, port = text.rpartition(":")
    if not colon or not port.isdigit() or int(port) > 65535:
        raise UsageError(f"{flag} {text}: want HOST:PORT, as in 127.0.0.1:8080")
    return host.strip("[]") or "127.0.0.1", int(port)


def bind(listen: str, flag: str = "--listen") -> socket.socket:
    """A listening TCP socket. Raises UsageError where the address cannot be had."""
    host, port = parse_listen(listen, flag)
    try:
        family, kind, proto, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        sock = socket.socket(family, kind, proto)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
        sock.listen(BACKLOG)
    except OSError as error:
        raise UsageError(f"{flag} {listen}: {error.strerror or error}") from None
    return sock


def make_server(app: Callable[..., Awaitable[None]], **settings: Any) -> Any:
    """A uvicorn server with the bounds that all of clet's have. Signals are left to whoever runs it: uvicorn's own
    handlers would re-raise them afterwards, and a drained server ends with status 0.
    """
    import uvicorn

    from clet.http_protocol import BoundedProtocol

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        http=BoundedProtocol,
        ws="none",
        server_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
        **settings,
    )
    server = uvicorn.Server(config)
    server.capture_signals = contextlib.nullcontext
    return server


def serve_app(
    app: Callable[..., Awaitable[None]],
    listen: str,
    *,
    port_file: str | None = None,
    certificate: str | None = None,
    private_key: str | None = None,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Serve `app` until SIGTERM or SIGINT, then let running requests finish (at most `DRAIN_S` seconds).

    Prints the address once the socket accepts, writes the port to `port_file` (port 0 asks for any free one) and
    tells systemd. `on_stop` is called when draining begins, so that long polls can end.
    """
    if (certificate is None) != (private_key is None):
        raise UsageError("TLS needs both --tls-cert and --tls-key")
    sock = bind(listen)
    settings: dict[str, Any] = {"ssl_certfile": certificate, "ssl_keyfile": private_key} if certificate else {}
    server = make_server(app, lifespan="on", timeout_graceful_shutdown=int(DRAIN_S), **settings)
    try:
        server.config.load()
    except OSError as error:
        raise UsageError(f"TLS certificate or key: {error.strerror or error}") from None
    asyncio.run(_serve(server, sock, certificate is not None, port_file, on_stop))


async def _serve(
    server: Any, sock: socket.socket, tls: bool, port_file: str | None, on_stop: Callable[[], None] | None
) -> None:
    loop = asyncio.get_running_loop()

    def stop() -> None:
        notify("STOPPING=1")
        if on_stop:
            on_stop()
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    serving = asyncio.ensure_future(server.serve(sockets=[sock]))
    while not server.started and not serving.done():
        await asyncio.sleep(0.01)
    watchdog = None
    if not serving.done():
        host, port = sock.getsockname()[:2]
        address = f"{'https' if tls else 'http'}://{f'[{host}]' if ':' in host else host}:{port}"
        if port_file:
            write_atomically(Path(port_file), f"{port}\n".encode())
        log.info(f"listening on {address}", event="listening", address=address)
        notify(f"READY=1\nSTATUS=listening on {address}")
        watchdog = asyncio.ensure_future(_keep_watchdog())
    try:
        await serving
    except SystemExit as error:
        raise WriteError(f"the server could not start (status {error.code})") from None
    finally:
        if watchdog:
            watchdog.cancel()


async def _keep_watchdog() -> None:
    interval = watchdog_interval_s()
    while interval:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
