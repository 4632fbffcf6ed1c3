"""clet sync-server: merge the work of workers without a barrier."""

from __future__ import annotations

from typing import Annotated

import typer

from clet.commands.flags import StateDir
from clet.exits import UsageError
from clet.log import Counts, log


def main(
    *,
    model: Annotated[
        str, typer.Option("--model", metavar="DIR", help="The model directory that all workers start from.")
    ],
    state: StateDir,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Address to serve on; port 0 is any free one.")
    ] = "127.0.0.1:8477",
    max_staleness: Annotated[
        int,
        typer.Option("--max-staleness", min=0, metavar="N", help="Refuse a delta made on more than N versions ago."),
    ] = 4,
    token_file: Annotated[
        str | None,
        typer.Option(
            "--token-file", metavar="FILE", help="Let in bearers of a token in FILE, one a line.", show_default=False
        ),
    ] = None,
    outer_lr: Annotated[
        float, typer.Option("--outer-lr", min=0.0, max=10.0, metavar="F", help="Learning rate of the outer optimiser.")
    ] = 0.7,
    outer_momentum: Annotated[
        float, typer.Option("--outer-momentum", min=0.0, max=0.999, metavar="F", help="Its delayed Nesterov momentum.")
    ] = 0.9,
    tls_cert: Annotated[
        str | None,
        typer.Option("--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate chain.", show_default=False),
    ] = None,
    tls_key: Annotated[
        str | None, typer.Option("--tls-key", metavar="FILE", help="The certificate's private key.", show_default=False)
    ] = None,
    port_file: Annotated[
        str | None,
        typer.Option("--port-file", metavar="FILE", help="Write the port to FILE once it accepts.", show_default=False),
    ] = None,
    save_every: Annotated[
        int, typer.Option("--save-every", min=1, metavar="N", help="Write a snapshot and DIR/model every N versions.")
    ] = 20,
) -> int:
    """Merge what `clet train --sync` workers learn, each when it comes.

    Every accepted delta is durable before it is acknowledged; the newest snapshot is a model directory in DIR/model.
    """
    from clet.http_server import serve_app
    from clet.sync.credentials import read_tokens
    from clet.sync.http import SyncApp, loopback_only
    from clet.sync.server import Settings, open_server

    tokens = read_tokens(token_file)
    if not tokens and not loopback_only(listen):
        raise UsageError(f"--listen {listen} without --token-file would let anybody write to the model; give one")
    settings = Settings(max_staleness=max_staleness, lr=outer_lr, momentum=outer_momentum, save_every=save_every)
    store, server = open_server(model, state, settings)
    with store:
        app = SyncApp(server, tokens)
        log.info(f"version {server.version}, {server.size} elements", event="version", version=server.version)
        serve_app(app.asgi, listen, port_file=port_file, certificate=tls_cert, private_key=tls_key)
        app.close()
        server.close(save=app.failure is None)
        if app.failure is not None:
            raise app.failure
        status = server.status()
        outcomes = status["outcomes"]
        names = ("version", "outcomes", "malformed", "fenced", "staleness")
        counts = Counts(sum(outcomes.values()), outcomes.get("accepted", 0), status["tokens"])
        counts.extra.update({name: status[name] for name in names})
        log.summary(counts)
    return 0
