"""clet serve: answer over the OpenAI API, swap releases live."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from clet.commands.flags import DEFAULT_SEED, Cores, Seed
from clet.cores import share_cores
from clet.exits import UsageError
from clet.log import log

DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("auto", "cpu", "cuda")
TIERS = ("static", "live", "realtime")


def main(
    model: Annotated[str, typer.Argument(metavar="RUN|MODEL", help="A run with releases, or a model directory.")],
    *,
    listen: Annotated[
        str, typer.Option("--listen", metavar="HOST:PORT", help="Where to answer; port 0 takes any free one.")
    ] = "127.0.0.1:8080",
    tier: Annotated[
        str | None,
        typer.Option("--tier", metavar="TIER", help="Link of the run to follow: live (default), realtime or static."),
    ] = None,
    max_batch: Annotated[
        int | None,
        typer.Option(
            "--max-batch",
            min=1,
            max=4096,
            metavar="N",
            help="Sequences answered at once (default: 32, or what memory allows).",
        ),
    ] = None,
    max_len: Annotated[
        int | None,
        typer.Option(
            "--max-len",
            min=8,
            metavar="N",
            help="Tokens of prompt and answer together (default: the model's, at most 4096).",
        ),
    ] = None,
    port_file: Annotated[
        str | None, typer.Option("--port-file", metavar="FILE", help="Write the port to FILE once it answers.")
    ] = None,
    tls_cert: Annotated[
        str | None, typer.Option("--tls-cert", metavar="FILE", help="Serve HTTPS with this certificate (PEM).")
    ] = None,
    tls_key: Annotated[str | None, typer.Option("--tls-key", metavar="FILE", help="Its private key (PEM).")] = None,
    device: Annotated[str, typer.Option("--device", metavar="NAME", help="auto, cpu or cuda.")] = "auto",
    dtype: Annotated[
        str | None,
        typer.Option("--dtype", metavar="TYPE", help="float32 (default on a CPU), bfloat16 (on a GPU) or float16."),
    ] = None,
    jobs: Cores = None,
    seed: Seed = DEFAULT_SEED,
) -> int:
    """Answer OpenAI completions and chat completions with a model, and swap in new releases without a pause.

    Follows a link of a run (live unless told otherwise): running answers end on the weights they began with, new ones
    begin on the new. Ends with 0 after SIGTERM, when all running answers are sent.
    """
    for name, value, choices in (("tier", tier, TIERS), ("device", device, DEVICES), ("dtype", dtype, DTYPES)):
        if value is not None and value not in choices:
            raise UsageError(f"--{name} {value}: choose one of {', '.join(choices)}")

    from clet.http_server import parse_listen, serve_app
    from clet.serve.source import Source

    parse_listen(listen)
    source = Source.find(model, tier)
    share_cores()

    from clet.serve.http import make_app
    from clet.serve.workshop import open_deck

    deck = open_deck(source, device=device, dtype=dtype, max_batch=max_batch, max_len=max_len, jobs=jobs)
    served, limits = deck.current.served, deck.current.limits
    log.info(
        f"{Path(model)}: release {served.release}, {limits.max_batch} sequences of {limits.max_len} tokens at once",
        event="loaded",
        release=served.release,
        max_batch=limits.max_batch,
        max_len=limits.max_len,
    )
    deck.watch()
    serve_app(make_app(deck, seed), listen, port_file=port_file, certificate=tls_cert, private_key=tls_key)
    return 0
